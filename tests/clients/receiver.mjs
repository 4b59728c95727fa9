// A webhook receiver as the Ferrite document writes it: the body is parsed, and the signature is checked over what
// JSON.stringify makes of it. Prints its port, then a line of JSON for each request: {verified, raw, payload}.
import crypto from "node:crypto";
import http from "node:http";

const secret = process.env.SECRET;

function verifySignature(payload, signature, secret) {
  const expected = crypto.createHmac("sha256", secret).update(JSON.stringify(payload)).digest("hex");
  return crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(`sha256=${expected}`));
}

const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const raw = Buffer.concat(chunks).toString("utf8");
  const payload = JSON.parse(raw);
  const verified = verifySignature(payload, request.headers["x-ferrite-signature"], secret);
  response.writeHead(verified ? 200 : 401).end();
  console.log(JSON.stringify({ verified, raw, payload }));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
