package client;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.grpc.xds.XdsCredentialsProvider;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;

/**
 * The credentials `tls` of a bootstrap (gRFC A65), with the certificate that it names: grpc-java's
 * own reads neither a certificate nor roots from it. It is found as a service of `META-INF`.
 */
public final class MutualTls extends XdsCredentialsProvider {
  @Override
  protected ChannelCredentials newChannelCredentials(Map<String, ?> config) {
    try {
      return TlsChannelCredentials.newBuilder()
          .keyManager(file(config, "certificate_file"), file(config, "private_key_file"))
          .trustManager(file(config, "ca_certificate_file"))
          .build();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static File file(Map<String, ?> config, String name) {
    return new File((String) config.get(name));
  }

  @Override
  protected String getName() {
    return "tls";
  }

  @Override
  public boolean isAvailable() {
    return true;
  }

  @Override
  public int priority() {
    return 9;
  }
}
