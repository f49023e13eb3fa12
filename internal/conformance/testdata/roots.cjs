// Two clients of the TypeScript SDK, each with a root of its own, on one
// server-filesystem at the same time: what each may read of its own root, of the
// other's, and of the directory that the server was started with.
//
//   node roots.cjs WAIT COMMON A B URL, or COMMAND ARG…
//
// WAIT is "own" where a client's root is to become its server's directory, which
// happens some time after the handshake; "none" where it must not.
// BERTH_TEST_NPM names the directory whose node_modules has the SDK.
const { createRequire } = require("node:module");
const { pathToFileURL } = require("node:url");
const { setTimeout: pause } = require("node:timers/promises");
const need = createRequire(process.env.BERTH_TEST_NPM + "/");
const part = (name) => need("@modelcontextprotocol/sdk/" + name);
const { Client } = part("client/index.js");
const { StdioClientTransport } = part("client/stdio.js");
const { StreamableHTTPClientTransport } = part("client/streamableHttp.js");
const { ListRootsRequestSchema } = part("types.js");

async function connect(name, root, [first, ...rest]) {
  const client = new Client({ name, version: "1" }, { capabilities: { roots: { listChanged: true } } });
  const seen = { asked: 0, allowed: "", reads: [] };
  client.setRequestHandler(ListRootsRequestSchema, async () => {
    seen.asked++;
    return { roots: [{ uri: pathToFileURL(root).href, name }] };
  });
  await client.connect(first.startsWith("http://")
    ? new StreamableHTTPClientTransport(new URL(first))
    : new StdioClientTransport({ command: first, args: rest, env: { ...process.env } }));
  const call = async (tool, args) => {
    const result = await client.callTool({ name: tool, arguments: args });
    return { ok: !result.isError, text: result.content.map((c) => c.text ?? "").join("") };
  };
  const reads = async (dir) => (await call("read_text_file", { path: dir + "/file.txt" })).ok;
  return { client, seen, call, reads, root };
}

async function main([wait, common, a, b, ...target]) {
  const both = [await connect("a", a, target), await connect("b", b, target)];
  for (const one of both) {
    for (let tries = 0; ; tries++) {
      one.seen.allowed = (await one.call("list_allowed_directories", {})).text;
      if (wait !== "own" || one.seen.allowed.includes(one.root) || tries === 300) break;
      await pause(50);
    }
  }
  // Each in turn, then the first again: the second has spoken meanwhile.
  for (const [one, other] of [both, [...both].reverse(), both]) {
    one.seen.reads.push({
      own: await one.reads(one.root), other: await one.reads(other.root), common: await one.reads(common),
    });
  }
  console.log(JSON.stringify(both.map((one) => one.seen)));
  for (const one of both) await one.client.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
