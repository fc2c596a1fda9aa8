// A follower for Node 20 without any package: server-sent events by fetch, a place in a file, reconnects for ever.
//   CATALYST_URL=... CATALYST_KEY=... node follower.mjs 'confidence >= 0.7'
import { readFile, rename, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const { CATALYST_URL, CATALYST_KEY } = process.env;
const url = new URL("/v1/channels/main/stream", CATALYST_URL);
url.searchParams.set("filter", process.argv[2] ?? "");
const silentMs = 25_000; // The server says something every 10 s.
let place = await readFile("follower.mjs.place", "utf8").catch(() => ""); // epoch:seq:hash8, as it came

async function keep(id) { // After the handler: at a crash the one signal that it was at comes again, under the same key.
  await writeFile("follower.mjs.new", (place = id));
  await rename("follower.mjs.new", "follower.mjs.place");
}

async function handle(event) {
  const key = event.version > 1 ? `${event.id}~${event.version}` : event.id;
  console.log(event.type, key, event.data?.instrument?.symbol ?? "", event.data?.action ?? "");
}

async function refused(refusal) { // A range that is gone is told, and passed; what no second try can mend is the end.
  console.error(refusal.error, refusal.message);
  const next = refusal.resume_after ?? (refusal.first === undefined ? undefined : refusal.first - 1);
  if (next !== undefined) await keep(`${refusal.epoch}:${next}:`);
  else if (!refusal.retry) process.exit(1);
}

for (let tries = 0; ; await sleep(Math.random() * Math.min(15_000, 200 * 2 ** ++tries))) {
  const silence = new AbortController();
  let timer;
  const heard = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), silentMs); };
  try {
    heard();
    const headers = { Authorization: `Bearer ${CATALYST_KEY}`, ...(place && { "Last-Event-ID": place }) };
    const answer = await fetch(url, { headers, signal: silence.signal });
    if (!answer.ok) { await refused(await answer.json()); continue; }
    let text = "";
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
      heard();
      const blocks = (text += part).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const { id, event, data } = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
        if (event === "error") await refused(JSON.parse(data));
        else if (event === "held") console.error("held back", data);
        else if (data) await handle(JSON.parse(data));
        if (id) { await keep(id); if (!data) { tries = 0; console.error("at", id); } }
      }
    }
  } catch (fault) {
    console.error("away:", fault.message);
  } finally { clearTimeout(timer); }
}
