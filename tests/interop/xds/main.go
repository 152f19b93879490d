// A control plane of other people's: go-control-plane, with one service whose instances are
// arguments. It knows nothing of the mesh but the names of a certificate provider and of the
// workload.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Everybody is sent the same.
type everybody struct{}

func (everybody) ID(*core.Node) string { return "" }

func packed(message proto.Message) *anypb.Any {
	found, err := anypb.New(message)
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func fromADS() *core.ConfigSource {
	return &core.ConfigSource{
		ResourceApiVersion:    core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
	}
}

func listenerOf(name string) *listener.Listener {
	manager := &hcm.HttpConnectionManager{
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{
			Rds: &hcm.Rds{ConfigSource: fromADS(), RouteConfigName: name + "-routes"},
		},
		HttpFilters: []*hcm.HttpFilter{{
			Name:       "router",
			ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(&router.Router{})},
		}},
	}
	return &listener.Listener{
		Name:        name,
		ApiListener: &listener.ApiListener{ApiListener: packed(manager)},
	}
}

func routesOf(name string) *route.RouteConfiguration {
	all := &route.Route{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: ""}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: name + "-cluster"},
		}},
	}
	return &route.RouteConfiguration{
		Name:         name + "-routes",
		VirtualHosts: []*route.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: []*route.Route{all}}},
	}
}

func clusterOf(name, provider, workload string) *cluster.Cluster {
	common := &tls.CommonTlsContext{
		TlsCertificateProviderInstance: &tls.CertificateProviderPluginInstance{InstanceName: provider},
		ValidationContextType: &tls.CommonTlsContext_ValidationContext{
			ValidationContext: &tls.CertificateValidationContext{
				CaCertificateProviderInstance: &tls.CertificateProviderPluginInstance{InstanceName: provider},
				MatchSubjectAltNames: []*matcher.StringMatcher{
					{MatchPattern: &matcher.StringMatcher_Exact{Exact: workload}},
				},
			},
		},
	}
	return &cluster.Cluster{
		Name:                 name + "-cluster",
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: fromADS()},
		TransportSocket: &core.TransportSocket{
			Name: "envoy.transport_sockets.tls",
			ConfigType: &core.TransportSocket_TypedConfig{
				TypedConfig: packed(&tls.UpstreamTlsContext{CommonTlsContext: common}),
			},
		},
	}
}

func endpointsOf(name string, addresses []string) *endpoint.ClusterLoadAssignment {
	group := &endpoint.LocalityLbEndpoints{
		Locality:            &core.Locality{Region: "elsewhere"},
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			log.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			log.Fatal(err)
		}
		group.LbEndpoints = append(group.LbEndpoints, &endpoint.LbEndpoint{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{
					SocketAddress: &core.SocketAddress{
						Address:       host,
						PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(number)},
					},
				}},
			}},
		})
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name + "-cluster",
		Endpoints:   []*endpoint.LocalityLbEndpoints{group},
	}
}

// Takes a port, a service, a certificate provider, a workload, and the service's addresses.
func main() {
	port, name, provider, workload, addresses := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	ctx := context.Background()
	snapshot, err := cache.NewSnapshot("1", map[resource.Type][]types.Resource{
		resource.ListenerType: {listenerOf(name)},
		resource.RouteType:    {routesOf(name)},
		resource.ClusterType:  {clusterOf(name, provider, workload)},
		resource.EndpointType: {endpointsOf(name, addresses)},
	})
	if err != nil {
		log.Fatal(err)
	}
	known := cache.NewSnapshotCache(true, everybody{}, nil)
	if err := known.SetSnapshot(ctx, "", snapshot); err != nil {
		log.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	plane := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(plane, server.NewServer(ctx, known, nil))
	fmt.Println("serving")
	log.Fatal(plane.Serve(socket))
}
