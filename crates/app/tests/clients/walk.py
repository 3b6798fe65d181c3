"""Walks every endpoint that the client `consul` (py-consul) has, against the server of argv[1]:port.

Ends with the first thing that is not as the client's users know it. Prints one line a step.
"""

import base64
import json
import sys
import threading
import time
import uuid

import consul
from consul import Check

host, port = sys.argv[1].rsplit(":", 1)
client = consul.Consul(host=host, port=int(port))
steps = 0


def step(name):
    global steps
    steps += 1
    print(f"{steps} {name}", flush=True)


def equal(found, wanted, what=""):
    if found != wanted:
        raise SystemExit(f"step {steps} {what}: {found!r} is not {wanted!r}")


def holds(condition, what):
    if not condition:
        raise SystemExit(f"step {steps}: {what}")


def refused(call, kind=consul.ConsulException):
    try:
        found = call()
    except kind as error:
        return str(error)
    raise SystemExit(f"step {steps}: was to be refused with {kind.__name__}, gave {found!r}")


def until(what, call, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = call()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"step {steps}: {what} did not come")


step("status")
leader = client.status.leader()
holds(leader.endswith(":8300"), f"leader {leader!r}")
equal(client.status.peers(), [leader])

step("agent self, members, reload, metrics")
me = client.agent.self()
node = me["Config"]["NodeName"]
dc = me["Config"]["Datacenter"]
holds(me["Config"]["Version"][0].isdigit(), "a version")
members = client.agent.members()
holds(node in [member["Name"] for member in members], f"{node} among {members}")
holds(all(member["Status"] in (1, 3, 4) for member in members), "status of members")
client.agent.reload()
holds("Gauges" in client.agent.metrics(), "metrics")

step("kv: put, get, flags, cas, keys, recurse, delete")
root = f"walk/{uuid.uuid4()}"
equal(client.kv.put(f"{root}/a", "1"), True)
index, found = client.kv.get(f"{root}/a")
equal(found["Value"], b"1")
equal(found["Flags"], 0)
equal(client.kv.put(f"{root}/a", b"\x00\xff", flags=2**63), True)
_, found = client.kv.get(f"{root}/a")
equal((found["Value"], found["Flags"]), (b"\x00\xff", 2**63))
equal(client.kv.put(f"{root}/a", "x", cas=found["ModifyIndex"] - 1), False)
equal(client.kv.put(f"{root}/a", "x", cas=found["ModifyIndex"]), True)
equal(client.kv.put(f"{root}/a", "y", cas=0), False)
equal(client.kv.put(f"{root}/b/c", ""), True)
equal(client.kv.get(f"{root}/b/c")[1]["Value"], None)
equal(client.kv.get(f"{root}/", keys=True)[1], [f"{root}/a", f"{root}/b/c"])
equal(client.kv.get(f"{root}/", keys=True, separator="/")[1], [f"{root}/a", f"{root}/b/"])
equal([kv["Key"] for kv in client.kv.get(root, recurse=True)[1]], [f"{root}/a", f"{root}/b/c"])
equal(client.kv.get(f"{root}/none")[1], None)
refused(lambda: client.kv.put(f"{root}/big", "x" * (512 * 1024 + 1)))
equal(client.kv.put(f"{root}/max", "x" * (512 * 1024)), True)
equal(client.kv.delete(f"{root}/max"), True)

step("kv: a blocking read wakes with the change, and not with another one's")
index, _ = client.kv.get(f"{root}/a")
woken = []
thread = threading.Thread(
    target=lambda: woken.append(client.kv.get(f"{root}/a", index=index, wait="20s"))
)
thread.start()
client.kv.put(f"{root}/other", "1")
time.sleep(0.2)
equal(woken, [])
client.kv.put(f"{root}/a", "z")
thread.join(10)
equal(woken[0][1]["Value"], b"z")

step("sessions and locks")
session = client.session.create("walk", ttl=10, lock_delay=0)
other = client.session.create("other", ttl=10, lock_delay=0, behavior="delete")
equal(client.session.info(session)[1]["Name"], "walk")
holds(session in [one["ID"] for one in client.session.list()[1]], "the session is listed")
holds(session in [one["ID"] for one in client.session.node(node)[1]], "by its node too")
equal(client.session.renew(session)["ID"], session)
equal(client.kv.put(f"{root}/lock", "1", acquire=session), True)
equal(client.kv.put(f"{root}/lock", "2", acquire=other), False)
equal(client.kv.get(f"{root}/lock")[1]["Session"], session)
equal(client.kv.put(f"{root}/lock", "1", release=session), True)
equal(client.kv.put(f"{root}/lock", "2", acquire=other), True)
equal(client.kv.get(f"{root}/lock")[1]["LockIndex"], 2)
equal(client.session.destroy(other), True)
equal(client.kv.get(f"{root}/lock")[1], None)
equal(client.session.destroy(session), True)
equal(client.session.info(session)[1], None)
refused(lambda: client.session.renew(session))

step("txn")
value = base64.b64encode(b"t").decode()
done = client.txn.put([{"KV": {"Verb": "set", "Key": f"{root}/t", "Value": value}},
                       {"KV": {"Verb": "get", "Key": f"{root}/t"}}])
equal(done["Errors"], None)
equal(done["Results"][1]["KV"]["Value"], value)

step("agent services: register, read, maintenance, deregister")
name = f"web-{uuid.uuid4().hex[:8]}"
one = f"{node}:walk:80"
client.agent.service.register(
    name, service_id=one, address="10.9.8.7", port=80, tags=["http", "v1"], meta={"env": "dev"},
    check=Check.ttl("30s"),
)
service = client.agent.services()[one]
equal((service["Service"], service["Port"], service["Tags"]), (name, 80, ["http", "v1"]))
equal(service["Meta"], {"env": "dev"})
equal(client.agent.service_definition(one)["ID"], one)
equal(client.health.service(name, passing=True)[1], [])
client.agent.check.ttl_pass(f"service:{one}", notes="well")
nodes = until("passing", lambda: client.health.service(name, passing=True)[1])
equal(nodes[0]["Service"]["ID"], one)
holds("serfHealth" in [check["CheckID"] for check in nodes[0]["Checks"]], "the node's check")
client.agent.check.ttl_warn(f"service:{one}", notes="hm")
equal(client.agent.checks()[f"service:{one}"]["Status"], "warning")
client.agent.check.ttl_fail(f"service:{one}", notes="bad")
equal(client.agent.checks()[f"service:{one}"]["Output"], "bad")
client.agent.check.ttl_pass(f"service:{one}")
client.agent.service.maintenance(one, True, "walk")
until("maintenance", lambda: client.health.service(name, passing=True)[1] == [])
client.agent.service.maintenance(one, False)
until("its end", lambda: client.health.service(name, passing=True)[1])
holds(client.agent.services(f'Service == "{name}"').keys() == {one}, "a filter")

step("checks of the agent")
client.agent.check.register("mem", check=Check.ttl("30s"), check_id="walk-mem", notes="walk")
equal(client.agent.checks()["walk-mem"]["Status"], "critical")
client.agent.check.ttl_pass("walk-mem")
client.agent.check.deregister("walk-mem")
holds("walk-mem" not in client.agent.checks(), "the check is gone")
client.agent.maintenance(True, "walk")
until("the node's maintenance", lambda: "_node_maintenance" in client.agent.checks())
client.agent.maintenance(False)
until("its end", lambda: "_node_maintenance" not in client.agent.checks())

step("health")
holds([c["ServiceID"] for c in client.health.checks(name)[1]] == [one], "checks of the service")
holds("serfHealth" in [c["CheckID"] for c in client.health.node(node)[1]], "checks of the node")
for state in ["any", "passing", "warning", "critical"]:
    holds(isinstance(client.health.state(state)[1], list), state)
equal(client.health.service(name, tag="v1")[1][0]["Service"]["Service"], name)
equal(client.health.service(name, tag="v2")[1], [])

step("catalog: a blocking read of a service wakes when it changes")
index, listed = client.catalog.service(name)
equal([entry["ServiceID"] for entry in listed], [one])
woken = []
thread = threading.Thread(
    target=lambda: woken.append(client.catalog.service(name, index=index, wait="20s"))
)
thread.start()
time.sleep(0.2)
equal(woken, [])
client.agent.service.register(name, service_id=f"{one}:2", address="10.9.8.8", port=81)
thread.join(10)
equal(len(woken[0][1]), 2)
client.agent.service.deregister(f"{one}:2")
until("it to be gone", lambda: len(client.catalog.service(name)[1]) == 1)

step("catalog")
equal(client.catalog.datacenters(), [dc])
holds(node in [one["Node"] for one in client.catalog.nodes()[1]], "the node")
equal(sorted(client.catalog.services()[1][name]), ["http", "v1"])
holds(one in client.catalog.node(node)[1]["Services"], "the node's services")
equal(client.catalog.connect(name)[1], [])
outside = f"outside-{uuid.uuid4().hex[:8]}"
equal(
    client.catalog.register(
        outside, "10.1.1.1", service={"Service": "db", "ID": "db1", "Port": 5432, "Tags": ["x"]}
    ),
    True,
)
until("the other node", lambda: outside in [one["Node"] for one in client.catalog.nodes()[1]])
equal(client.catalog.node(outside)[1]["Services"]["db1"]["Port"], 5432)
equal(client.catalog.deregister(outside, service_id="db1"), True)
equal(client.catalog.deregister(outside), True)
until("its end", lambda: outside not in [one["Node"] for one in client.catalog.nodes()[1]])

step("events")
fired = client.event.fire("walk", body="hello")
holds(fired, "an event's id")
until("the event", lambda: [e for e in client.event.list("walk")[1] if e["Payload"] == b"hello"])

step("prepared queries")
query = client.query.create(name, name=f"q-{name}", onlypassing=True)
equal(client.query.get(query["ID"])[0]["Name"], f"q-{name}")
holds(query["ID"] in [one["ID"] for one in client.query.list()], "it is listed")
equal(client.query.execute(f"q-{name}")["Nodes"][0]["Service"]["ID"], one)
client.query.explain(query["ID"])
equal(client.query.delete(query["ID"]), True)

step("coordinates")
holds(isinstance(client.coordinate.datacenters(), list), "datacenters")
holds(isinstance(client.coordinate.nodes()[1], list), "nodes")

step("operator")
servers = client.operator.raft_config()["Servers"]
equal([server["Leader"] for server in servers].count(True), 1)
holds(client.operator.autopilot_health()["Healthy"], "autopilot's health")

step("snapshot")
snapshot = client.snapshot.save()
holds(len(snapshot) > 0, "a snapshot")

step("acl is off, and says so")
refused(lambda: client.acl.token.list())

step("the end: what was made is taken away")
client.agent.service.deregister(one)
until("no service", lambda: name not in client.catalog.services()[1])
equal(client.kv.delete(root, recurse=True), True)
equal(client.kv.get(root, recurse=True)[1], None)
print(json.dumps({"client": "py-consul", "steps": steps}))
