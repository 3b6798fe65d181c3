"""Walks tokens, policies and roles with the client `consul` (py-consul) against argv[1], host:port,
which asks for tokens already and has none yet. Ends with the first thing that is not as its users know it.
"""

import json
import sys
import time

import consul

host, port = sys.argv[1].rsplit(":", 1)


def client(token=None):
    return consul.Consul(host=host, port=int(port), token=token)


def refused(call):
    try:
        found = call()
    except consul.ConsulException as error:
        return str(error)
    raise SystemExit(f"was to be refused, gave {found!r}")


def equal(found, wanted):
    if found != wanted:
        raise SystemExit(f"{found!r} is not {wanted!r}")


end = time.monotonic() + 20
while True:
    try:
        first = client().acl.bootstrap()
        break
    except consul.ConsulException as error:
        if time.monotonic() > end:
            raise SystemExit(f"no first token: {error}")
        time.sleep(0.05)
root = client(first["SecretID"])
refused(lambda: client().acl.bootstrap())
policy = root.acl.policy.create("walk", rules={"key_prefix": {"walk/": {"policy": "write"}}})
equal(root.acl.policy.read(policy["ID"])["Name"], "walk")
equal({"walk", "global-management"} <= {one["Name"] for one in root.acl.policy.list()}, True)
token = root.acl.token.create(policies_id=[policy["ID"]], description="walk")
equal(root.acl.token.read(token["AccessorID"])["Description"], "walk")
copy = root.acl.token.clone(token["AccessorID"], description="copy")
walker = client(copy["SecretID"])
equal(walker.kv.put("walk/a", "1"), True)
equal(walker.kv.get("walk/a")[1]["Value"], b"1")
refused(lambda: walker.kv.put("other", "1"))
refused(lambda: client().kv.get("walk/a"))
refused(lambda: walker.acl.token.list())
role = root.acl.role.create("walkers", policies_id=[policy["ID"]])
equal(root.acl.role.read_by_name("walkers")["ID"], role["ID"])
equal(len(root.acl.role.list()), 1)
equal(root.acl.role.delete(role["ID"]), True)
equal(root.acl.auth_method.list(), [])
equal(root.acl.token.delete(copy["AccessorID"]), True)
refused(lambda: walker.kv.get("walk/a"))
equal(root.acl.policy.delete(policy["ID"]), True)
print(json.dumps({"client": "py-consul acl"}))
