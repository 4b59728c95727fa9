// What the .mjs files beside share: packages from where NODE_CLIENTS says, the server's port, and waiting.
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

export const require = createRequire(`${process.env.NODE_CLIENTS}/`);
export const port = Number(process.env.SERVER_PORT);

/** What `condition` resolves to once that is truthy. */
export async function until(condition, ms = 10_000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${condition}`);
    await sleep(2);
  }
}
