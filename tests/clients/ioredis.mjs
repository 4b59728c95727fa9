// ioredis: commands, pipelines, transactions, streams, Pub/Sub, scan streams.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { port, require, until } from "./client_packages.mjs";

const Redis = require("ioredis").default ?? require("ioredis");

const opened = [];
afterEach(() => opened.splice(0).forEach((client) => client.disconnect()));

function connect(options) {
  const client = new Redis({ host: "127.0.0.1", port, ...options });
  opened.push(client);
  return client;
}

const using = (name, steps, options = {}) =>
  test(name, async () => {
    const client = connect(options);
    await client.flushall();
    await steps(client);
  });

using("data types", async (client) => {
  assert.equal(await client.set("k", "höllo", "PX", 100_000), "OK");
  assert.equal(await client.get("k"), "höllo");
  assert.ok(Buffer.from("höllo").equals(await client.getBuffer("k")));
  assert.equal(await client.hset("h", new Map([["a", 1], ["b", 2]])), 2);
  assert.deepEqual(await client.hgetall("h"), { a: "1", b: "2" });
  assert.equal(await client.zadd("z", 1.5, "a", "inf", "b"), 2);
  assert.deepEqual(await client.zrange("z", 0, -1, "WITHSCORES"), ["a", "1.5", "b", "inf"]);
  assert.equal(await client.sadd("s", "x", "y"), 2);
  assert.deepEqual((await client.smembers("s")).sort(), ["x", "y"]);
  assert.deepEqual(await client.mget("k", "none"), ["höllo", null]);
  await assert.rejects(client.incr("h"), /WRONGTYPE/);
  await assert.rejects(client.call("NOSUCH"), /unknown command/);
});

using("pipelines and transactions", async (client) => {
  const pipeline = client.pipeline();
  for (let i = 0; i < 5000; i++) pipeline.rpush("l", i);
  assert.equal((await pipeline.exec()).at(-1)[1], 5000);
  const replies = await client.multi().set("a", 1).incr("a").lpush("a", "x").exec();
  assert.deepEqual(replies.slice(0, 2), [[null, "OK"], [null, 2]]);
  assert.match(replies[2][0].message, /WRONGTYPE/);
  await client.watch("a");
  const other = connect();
  await other.set("a", "9");
  assert.equal(await client.multi().set("a", "0").exec(), null);
});

using("auto pipelining", async (client) => {
  const numbers = Array.from({ length: 2000 }, (_, i) => String(i));
  await Promise.all(numbers.map((n) => client.set(`k${n}`, n)));
  assert.deepEqual(await Promise.all(numbers.map((n) => client.get(`k${n}`))), numbers);
}, { enableAutoPipelining: true });

using("scan stream", async (client) => {
  await client.mset(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key:${i}`, i])));
  const seen = new Set();
  for await (const keys of client.scanStream({ match: "key:*", count: 50 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 1000);
});

using("publish and subscribe", async (client) => {
  const subscriber = connect();
  const heard = [];
  subscriber.on("message", (channel, message) => heard.push([channel, message]));
  subscriber.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
  assert.equal(await subscriber.subscribe("news", "other"), 2);
  await subscriber.psubscribe("n?ws");
  assert.equal(await client.publish("news", "hello"), 2);
  await until(() => heard.length === 2);
  assert.deepEqual(heard, [["news", "hello"], ["n?ws", "news", "hello"]]);
  assert.equal([await subscriber.ping("alive")].flat().at(-1), "alive");
  await subscriber.unsubscribe("news", "other");
  await subscriber.punsubscribe("n?ws");
  assert.equal(await subscriber.get("k"), null);
});

using("streams with groups, and blocking", async (client) => {
  await client.xgroup("CREATE", "x", "g", "$", "MKSTREAM");
  const reader = connect();
  const waiting = reader.xreadgroup("GROUP", "g", "c", "COUNT", 10, "BLOCK", 10_000, "STREAMS", "x", ">");
  await until(async () => /blocked_clients:1/.test(await client.info("clients")));
  const id = await client.xadd("x", "*", "field", "välue");
  assert.deepEqual(await waiting, [["x", [[id, ["field", "välue"]]]]]);
  assert.equal(await client.xack("x", "g", id), 1);
  const popping = reader.blpop("queue", 10);
  await until(async () => /blocked_clients:1/.test(await client.info("clients")));
  await client.rpush("queue", "job");
  assert.deepEqual(await popping, ["queue", "job"]);
});

using("monitor", async (client) => {
  const monitor = await client.monitor();
  opened.push(monitor);
  const seen = [];
  monitor.on("monitor", (time, args, source, database) => seen.push([args, database]));
  await client.set("k", 'a "b" c');
  await until(() => seen.length);
  assert.deepEqual(seen[0], [["set", "k", 'a "b" c'], "0"]);
});

using("scripts", async (client) => {
  client.defineCommand("addAndGet", { numberOfKeys: 1, lua: "redis.call('incrby', KEYS[1], ARGV[1]); return redis.call('get', KEYS[1])" });
  assert.equal(await client.addAndGet("n", 5), "5");
  await client.script("FLUSH");
  assert.equal(await client.addAndGet("n", 5), "10");
  const [[, first], [, second]] = await client.pipeline().addAndGet("n", 1).addAndGet("n", 1).exec();
  assert.deepEqual([first, second], ["11", "12"]);
  assert.deepEqual(await client.eval("return {1, 'a', {2.9, false}, redis.status_reply('FINE')}", 0), [1, "a", [2, null], "FINE"]);
});

using("webhook commands", async (client) => {
  assert.equal(await client.call("WEBHOOK.CREATE", "w", "http://example.com/", "EVENTS", "SET"), "OK");
  assert.deepEqual((await client.call("WEBHOOK.LIST"))[0].slice(0, 2), ["name", "w"]);
  assert.equal(await client.call("WEBHOOK.DELETE", "w"), 1);
});
