// node-redis (`redis`) with RESP2 and RESP3, its client-side cache included.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { port, require, until } from "./client_packages.mjs";

const { createClient, RESP_TYPES } = require("redis");

const opened = [];
afterEach(() => opened.splice(0).forEach((client) => client.isOpen && client.destroy()));

async function connect(options) {
  const client = createClient({ socket: { host: "127.0.0.1", port }, ...options });
  client.on("error", (error) => client.expected ?? assert.ifError(error));
  opened.push(client);
  await client.connect();
  return client;
}

for (const RESP of [2, 3]) {
  const using = (name, steps) =>
    test(`RESP${RESP} ${name}`, async () => {
      const client = await connect({ RESP });
      await client.flushAll();
      await steps(client);
    });

  using("data types", async (client) => {
    assert.equal(await client.set("k", "höllo", { EX: 100, NX: true }), "OK");
    assert.equal(await client.set("k", "x", { NX: true }), null);
    assert.equal(await client.get("k"), "höllo");
    assert.ok((await client.ttl("k")) > 90);
    assert.equal(await client.hSet("h", { a: 1, b: "two" }), 2);
    assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "two" });
    assert.equal(await client.sAdd("s", ["a", "b", "c"]), 3);
    assert.deepEqual((await client.sMembers("s")).sort(), ["a", "b", "c"]);
    await client.zAdd("z", [{ value: "a", score: 1 }, { value: "b", score: 2.5 }]);
    assert.deepEqual(await client.zRangeWithScores("z", 0, -1), [
      { value: "a", score: 1 },
      { value: "b", score: 2.5 },
    ]);
    assert.equal(await client.zScore("z", "b"), 2.5);
    assert.equal(await client.rPush("l", ["1", "2", "3"]), 3);
    assert.deepEqual(await client.lPopCount("l", 2), ["1", "2"]);
    const seen = [];
    for await (const keys of client.scanIterator({ COUNT: 2 })) seen.push(...keys);
    assert.deepEqual(seen.sort(), ["h", "k", "l", "s", "z"]);
    await assert.rejects(client.lPush("k", "x"), /WRONGTYPE/);
  });

  using("bytes", async (client) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const big = Buffer.alloc(20 * 1024 * 1024, "x");
    const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    await client.set("bytes", bytes);
    assert.ok(bytes.equals(await buffers.get("bytes")));
    await client.set("big", big);
    assert.ok(big.equals(await buffers.get("big")));
  });

  using("pipelines and transactions", async (client) => {
    const replies = await Promise.all(Array.from({ length: 5000 }, (_, i) => client.incr("n").then((r) => r === i + 1)));
    assert.ok(replies.every(Boolean));
    assert.deepEqual(await client.multi().set("a", "1").incr("a").get("a").exec(), ["OK", 2, "2"]);
    await client.watch("a");
    const other = await connect({ RESP });
    await other.set("a", "9");
    await assert.rejects(client.multi().set("a", "0").exec(), { name: "Error", message: /watched keys/ });
    assert.equal(await client.get("a"), "9");
  });

  using("publish and subscribe", async (client) => {
    const subscriber = await connect({ RESP });
    const heard = [];
    await subscriber.subscribe("news", (message, channel) => heard.push([channel, message]));
    await subscriber.pSubscribe("n?ws", (message, channel) => heard.push([channel, message]));
    await subscriber.sSubscribe("shard", (message, channel) => heard.push([channel, message]));
    assert.equal(await client.publish("news", "héllo"), 2);
    assert.equal(await client.sPublish("shard", "s"), 1);
    await until(() => heard.length === 3);
    assert.deepEqual(heard, [["news", "héllo"], ["news", "héllo"], ["shard", "s"]]);
    await client.configSet("notify-keyspace-events", "KEA");
    await subscriber.subscribe("__keyevent@0__:set", (message) => heard.push(message));
    await client.set("watched", "1");
    await until(() => heard.includes("watched"));
    await client.configSet("notify-keyspace-events", "");
    await subscriber.unsubscribe("news");
    assert.equal(await client.publish("news", "x"), 1);
  });

  using("streams with groups, and blocking", async (client) => {
    await client.xGroupCreate("x", "g", "$", { MKSTREAM: true });
    const reader = await connect({ RESP });
    const waiting = reader.xReadGroup("g", "c", { key: "x", id: ">" }, { BLOCK: 10_000, COUNT: 10 });
    const popping = await connect({ RESP });
    const popped = popping.blPop("queue", 10);
    await until(async () => /blocked_clients:2/.test(await client.info("clients")));
    const id = await client.xAdd("x", "*", { field: "välue", other: "2" });
    const read = JSON.stringify(await waiting); // its form differs between protocols and versions of the client
    for (const part of ["x", id, "field", "välue", "other", "2"]) assert.ok(read.includes(`"${part}"`), read);
    assert.equal((await client.xPending("x", "g")).pending, 1);
    assert.equal(await client.xAck("x", "g", id), 1);
    assert.equal((await client.xInfoStream("x")).length, 1);
    await client.rPush("queue", "job");
    assert.deepEqual({ ...(await popped) }, { key: "queue", element: "job" });
  });

  using("webhook commands", async (client) => {
    assert.equal(await client.sendCommand(["WEBHOOK.CREATE", "w", "http://example.com/", "EVENTS", "SET"]), "OK");
    const [listed] = await client.sendCommand(["WEBHOOK.LIST"]);
    if (RESP === 3) assert.equal(listed.name, "w");
    else assert.deepEqual(listed.slice(0, 2), ["name", "w"]);
    assert.equal(await client.sendCommand(["WEBHOOK.DELETE", "w"]), 1);
  });

  using("reconnects when it is killed", async (client) => {
    const admin = await connect({ RESP });
    client.expected = true;
    await client.sendCommand(["CLIENT", "SETNAME", "victim"]);
    const id = await client.clientId();
    await admin.sendCommand(["CLIENT", "KILL", "ID", String(id)]);
    await until(() => client.isReady && client.get("k").then(() => true, () => false));
    assert.notEqual(await client.clientId(), id);
  });
}

test("client-side cache", async () => {
  const { BasicClientSideCache } = require("@redis/client");
  const cache = new BasicClientSideCache({ maxEntries: 100, ttl: 0 });
  const client = await connect({ RESP: 3, clientSideCache: cache });
  const writer = await connect({ RESP: 3 });
  await writer.set("cached", "1");
  assert.equal(await client.get("cached"), "1");
  assert.equal(await client.get("cached"), "1");
  assert.equal(cache.stats().hitCount, 1);
  await writer.set("cached", "2");
  await until(async () => (await client.get("cached")) === "2");
  await writer.del("cached");
  await until(async () => (await client.get("cached")) === null);
});
