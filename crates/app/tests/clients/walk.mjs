// Walks every endpoint that the npm client `consul` has, against the server of argv[2], host:port.
// Ends with the first thing that is not as the client's users know it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";

const require = createRequire(process.env.CLIENTS_DIR + "/package.json");
const Consul = require("consul");
const [host, port] = process.argv[2].split(":");
const consul = new Consul({ host, port: Number(port) });

let steps = 0;
async function step(name, walk) {
  steps += 1;
  console.log(`${steps} ${name}`);
  await walk();
}

async function until(what, ask, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    const found = await ask();
    if (found) return found;
    await new Promise((go) => setTimeout(go, 20));
  }
  assert.fail(`${what} did not come`);
}

const root = `walk/${randomUUID()}`;
const name = `node-${randomUUID().slice(0, 8)}`;
const id = `walk:${name}:80`;
let node;

await step("status and agent", async () => {
  const leader = await consul.status.leader();
  assert.match(leader, /:8300$/);
  assert.deepEqual(await consul.status.peers(), [leader]);
  node = (await consul.agent.self()).Config.NodeName;
  assert.ok((await consul.agent.members()).some((one) => one.Name === node));
});

await step("kv", async () => {
  assert.equal(await consul.kv.set(`${root}/a`, "1"), true);
  assert.equal((await consul.kv.get(`${root}/a`)).Value, "1");
  assert.equal(await consul.kv.get(`${root}/none`), undefined);
  assert.deepEqual(await consul.kv.keys(root), [`${root}/a`]);
  const found = await consul.kv.get(`${root}/a`);
  assert.ok(!(await consul.kv.set({ key: `${root}/a`, value: "2", cas: String(found.ModifyIndex - 1) })));
  assert.equal(await consul.kv.set({ key: `${root}/a`, value: "2", cas: String(found.ModifyIndex) }), true);
});

await step("sessions", async () => {
  const made = await consul.session.create({ name: "walk", ttl: "10s", lockdelay: "0s" });
  assert.equal((await consul.session.get(made.ID)).Name, "walk");
  assert.ok((await consul.session.list()).some((one) => one.ID === made.ID));
  assert.ok((await consul.session.node(node)).some((one) => one.ID === made.ID));
  assert.equal(await consul.kv.set({ key: `${root}/lock`, value: "1", acquire: made.ID }), true);
  assert.equal(await consul.kv.set({ key: `${root}/lock`, value: "1", release: made.ID }), true);
  assert.equal((await consul.session.renew(made.ID))[0].ID, made.ID);
  await consul.session.destroy(made.ID);
  assert.equal(await consul.session.get(made.ID), undefined);
});

await step("services and checks of the agent", async () => {
  await consul.agent.service.register({
    name, id, address: "10.9.8.7", port: 80, tags: ["http"], check: { ttl: "30s" },
  });
  assert.equal((await consul.agent.services())[id].Port, 80);
  await consul.agent.check.pass(`service:${id}`);
  await until("passing", async () => (await consul.health.service({ service: name, passing: true })).length === 1);
  await consul.agent.check.warn(`service:${id}`);
  await consul.agent.check.fail(`service:${id}`);
  assert.equal((await consul.agent.checks())[`service:${id}`].Status, "critical");
  await consul.agent.check.pass(`service:${id}`);
  await consul.agent.service.maintenance({ id, enable: true, reason: "walk" });
  await consul.agent.service.maintenance({ id, enable: false });
  await consul.agent.check.register({ name: "walk-node", ttl: "30s" });
  assert.ok((await consul.agent.checks())["walk-node"]);
  await consul.agent.check.deregister("walk-node");
  await consul.agent.maintenance({ enable: true });
  await consul.agent.maintenance({ enable: false });
});

await step("catalog and health", async () => {
  assert.equal((await consul.catalog.datacenters()).length, 1);
  assert.ok((await consul.catalog.node.list()).some((one) => one.Node === node));
  assert.ok((await consul.catalog.node.services(node)).Services[id]);
  assert.deepEqual((await consul.catalog.service.list())[name], ["http"]);
  assert.equal((await consul.catalog.service.nodes(name))[0].ServiceID, id);
  assert.ok((await consul.health.node(node)).some((one) => one.CheckID === "serfHealth"));
  assert.equal((await consul.health.checks(name)).length, 1);
  assert.ok(Array.isArray(await consul.health.state("any")));
});

await step("a watch sees a change", async () => {
  const watch = consul.watch({ method: consul.health.service, options: { service: name, wait: "20s" } });
  const seen = [];
  watch.on("change", (data) => seen.push(data.length));
  watch.on("error", (error) => assert.fail(error));
  await until("the first look", async () => seen.length === 1);
  await consul.agent.service.register({ name, id: `${id}:2`, address: "10.9.8.8", port: 81 });
  await until("the change", async () => seen.at(-1) === 2);
  watch.end();
  await consul.agent.service.deregister(`${id}:2`);
});

await step("events, transactions, queries", async () => {
  const fired = await consul.event.fire({ name: "walk", payload: "hello" });
  await until("the event", async () => (await consul.event.list("walk")).some((one) => one.ID === fired.ID));
  const done = await consul.transaction.create([
    { KV: { Verb: "set", Key: `${root}/t`, Value: Buffer.from("t").toString("base64") } },
  ]);
  assert.equal(done.Errors, null);
  const query = await consul.query.create({ name: `q-${name}`, service: { service: name } });
  assert.equal((await consul.query.get(query.ID)).Name, `q-${name}`);
  assert.equal((await consul.query.execute(`q-${name}`)).Nodes.length, 1);
  assert.ok((await consul.query.list()).some((one) => one.ID === query.ID));
  await consul.query.destroy(query.ID);
});

await step("the end", async () => {
  await consul.agent.service.deregister(id);
  await until("no service", async () => (await consul.catalog.service.list())[name] === undefined);
  await consul.kv.del({ key: root, recurse: true });
  assert.equal(await consul.kv.keys(root).catch(() => undefined), undefined);
});
console.log(JSON.stringify({ client: "npm consul", steps }));
