package client;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import io.grpc.xds.XdsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/** Calls a method so many times, and prints how often each answer came, as JSON. */
public final class Client {
  private static final MethodDescriptor.Marshaller<String> TEXT =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(String value) {
          return new ByteArrayInputStream(value.getBytes(UTF_8));
        }

        @Override
        public String parse(InputStream stream) {
          try {
            return new String(stream.readAllBytes(), UTF_8);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        }
      };

  private Client() {}

  /** Takes a target, a method's path, a number of calls, and what to send. */
  public static void main(String[] told) throws InterruptedException {
    // The bootstrap names the certificates; without a word of the control plane nothing is called.
    ManagedChannel channel =
        Grpc.newChannelBuilder(
                told[0], XdsChannelCredentials.create(InsecureChannelCredentials.create()))
            .build();
    MethodDescriptor<String, String> method =
        MethodDescriptor.<String, String>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(told[1].substring(1))
            .setRequestMarshaller(TEXT)
            .setResponseMarshaller(TEXT)
            .build();
    Map<String, Integer> answers = new TreeMap<>();
    for (int call = 0; call < Integer.parseInt(told[2]); call++) {
      CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS);
      answers.merge(ClientCalls.blockingUnaryCall(channel, method, options, told[3]), 1, Integer::sum);
    }
    StringBuilder json = new StringBuilder("{");
    answers.forEach(
        (answer, count) ->
            json.append(json.length() > 1 ? "," : "")
                .append('"').append(answer).append("\":").append(count));
    System.out.println(json.append('}'));
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }
}
