// BullMQ, whose queues are Lua scripts over lists, sorted sets, streams and hashes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { port, require, until } from "./client_packages.mjs";

const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };

test("jobs run, fail, are tried again, are delayed and prioritised", async () => {
  const queue = new Queue("work", { connection });
  const events = new QueueEvents("work", { connection });
  await events.waitUntilReady();
  const completed = [];
  events.on("completed", ({ jobId, returnvalue }) => completed.push([jobId, returnvalue]));
  const attempts = {};
  const order = [];
  const worker = new Worker(
    "work",
    async (job) => {
      order.push(job.name);
      attempts[job.id] = (attempts[job.id] ?? 0) + 1;
      await job.updateProgress(50);
      if (job.data.fails >= attempts[job.id]) throw new Error("as asked");
      return { doubled: job.data.n * 2, text: job.data.text };
    },
    { connection, autorun: false },
  );
  await queue.add("low", { n: 1 }, { priority: 10 });
  await queue.add("high", { n: 2 }, { priority: 1 });
  await queue.add("plain", { n: 3, text: "ünï" });
  await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: "bulk", data: { n } })));
  const retried = await queue.add("retried", { n: 4, fails: 2 }, { attempts: 3, backoff: { type: "fixed", delay: 5 } });
  const lost = await queue.add("lost", { n: 5, fails: 9 }, { attempts: 2 });
  const delayed = await queue.add("delayed", { n: 6 }, { delay: 20 });
  worker.run();
  const counts = () => queue.getJobCounts("completed", "failed", "wait", "active", "delayed", "prioritized");
  await until(async () => {
    const now = await counts();
    return now.completed === 55 && now.failed === 1;
  });
  await until(() => completed.length === 55);
  assert.ok(order.indexOf("high") < order.indexOf("low"));
  assert.deepEqual((await queue.getJob(delayed.id)).returnvalue, { doubled: 12 });
  assert.equal((await queue.getJob(retried.id)).attemptsMade, 3);
  assert.equal((await queue.getJob(lost.id)).failedReason, "as asked");
  assert.ok(completed.some(([, value]) => value.text === "ünï"));
  await worker.close();
  await events.close();
  await queue.obliterate({ force: true });
  await queue.close();
});

test("a flow's parent waits for its children", async () => {
  const flow = new FlowProducer({ connection });
  const queue = new Queue("flow", { connection });
  const worker = new Worker(
    "flow",
    async (job) => (job.name === "parent" ? Object.values(await job.getChildrenValues()).sort() : job.data.n),
    { connection },
  );
  const { job } = await flow.add({
    name: "parent",
    queueName: "flow",
    children: [1, 2, 3].map((n) => ({ name: "child", queueName: "flow", data: { n } })),
  });
  await until(async () => (await job.getState()) === "completed");
  assert.deepEqual((await queue.getJob(job.id)).returnvalue, [1, 2, 3]);
  await worker.close();
  await flow.close();
  await queue.close();
});
