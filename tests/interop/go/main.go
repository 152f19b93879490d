// A client that knows nothing of the mesh but its bootstrap: it calls a service by name through the
// control plane, with the certificate of the bootstrap's files, and prints what was answered.
//
//	GRPC_XDS_BOOTSTRAP=.../bootstrap.json client xds:///echo /mesh.test.v1.EchoService/Get 10 who
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/xds"
	_ "google.golang.org/grpc/xds"
)

// raw passes messages as the bytes they are.
type raw struct{}

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (raw) Name() string { return "raw" }

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(target, method, count, body string) error {
	calls, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	// Plaintext is the answer only where the control plane names no security; ours always does.
	secure, err := xds.NewClientCredentials(
		xds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(secure))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answers := map[string]int{}
	for range calls {
		request, answer := []byte(body), []byte{}
		err := conn.Invoke(ctx, method, &request, &answer, grpc.ForceCodec(raw{}))
		if err != nil {
			return err
		}
		answers[string(answer)]++
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}
