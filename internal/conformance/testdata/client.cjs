// A client made with the TypeScript SDK, of its first or second major version:
// it lists the tools of a server, calls one, and prints what it saw as JSON. It
// takes what the Go client of tools/conformance takes, and which SDK:
//
//   node client.cjs v1|v2 [-version V] [-tool T] [-args JSON] URL
//   node client.cjs v1|v2 [-version V] [-tool T] [-args JSON] COMMAND ARG…
//
// BERTH_TEST_NPM names the directory whose node_modules has the SDKs.
const { createRequire } = require("node:module");
const need = createRequire(process.env.BERTH_TEST_NPM + "/");

function sdk(which) {
  if (which === "v2") {
    const all = { ...need("@modelcontextprotocol/client"), ...need("@modelcontextprotocol/client/stdio") };
    return { ...all, elicitation: "elicitation/create" };
  }
  const part = (name) => need("@modelcontextprotocol/sdk/" + name);
  return {
    ...part("client/index.js"), ...part("client/stdio.js"), ...part("client/sse.js"),
    ...part("client/streamableHttp.js"), elicitation: part("types.js").ElicitRequestSchema,
  };
}

function transport(kit, [first, ...rest]) {
  if (!first.startsWith("http://")) return new kit.StdioClientTransport({ command: first, args: rest, env: { ...process.env } });
  if (first.endsWith("/sse")) return new kit.SSEClientTransport(new URL(first));
  return new kit.StreamableHTTPClientTransport(new URL(first));
}

async function main([which, ...args]) {
  const flags = { version: "2025-11-25", args: "{}" };
  while (args[0].startsWith("-")) flags[args.shift().slice(1)] = args.shift();
  const kit = sdk(which);
  const client = new kit.Client({ name: "typescript-sdk-" + which, version: "1" }, {
    capabilities: { elicitation: { form: {} } },
    ...(flags.version >= "2026" ? { versionNegotiation: { mode: { pin: flags.version } } } : {}),
  });
  client.setRequestHandler(kit.elicitation, async () =>
    ({ action: "accept", content: { name: "gopher", username: "gopher", email: "gopher@example.org" } }));
  const wire = transport(kit, args);
  const visit = { protocol: "", tools: [], text: "" };
  // Both tell their transport what was agreed on; the first tells nobody else.
  const tell = wire.setProtocolVersion?.bind(wire);
  wire.setProtocolVersion = (version) => {
    visit.protocol = version;
    tell?.(version);
  };
  await client.connect(wire);
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : undefined);
    visit.tools.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor);
  if (flags.tool) {
    const result = await client.callTool({ name: flags.tool, arguments: JSON.parse(flags.args) });
    visit.text = result.content.map((part) => part.text ?? "").join("");
    if (result.isError) throw new Error(flags.tool + " failed: " + visit.text);
  }
  if (wire.terminateSession) await wire.terminateSession();
  await client.close();
  console.log(JSON.stringify(visit));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
