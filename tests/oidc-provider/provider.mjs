// An OpenID provider on a free loopback port, for tests/integration: client credentials, access
// tokens as JWT for the resource `urn:device-identifier` and opaque ones otherwise, introspection.
// Prints one line of JSON when it listens, and ends when its standard input does.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";
import { generateKeyPair, exportJWK } from "jose";

const scope = "device-identifier:retrieve-identifier device-identifier:retrieve-type";

async function key(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig" };
}

const server = createServer();
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = (id, secret) => ({
    client_id: id,
    client_secret: secret,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    scope,
  });
  const provider = new Provider(issuer, {
    jwks: { keys: await Promise.all(["RS256", "PS256", "ES256", "EdDSA"].map(key)) },
    clients: [client("api-consumer", "consumer-test-secret"), client("bridge", "bridge-test-secret")],
    scopes: scope.split(" "),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      resourceIndicators: {
        enabled: true,
        // `urn:device-identifier:ES256` names the algorithm of the token's signature.
        getResourceServerInfo: async (_context, resource) => ({
          scope,
          audience: "device-identifier",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: resource.split(":").at(-1) } },
        }),
      },
    },
    ttl: { ClientCredentials: 600 },
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
