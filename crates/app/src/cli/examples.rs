//! Examples of the commands, as `--help` shows them; those of the longer commands are beside them.

pub(super) const PLAN: &str = "Examples:
  remuda plan                         the compose file of this folder
  remuda plan -f compose.yaml -p shop; test $? -eq 10 && echo there are changes

Exit codes: 0 no changes, 10 changes, 5 something is blocked, 2 the files are wrong.";
pub(super) const DOWN: &str = "Examples:
  remuda down shop
  remuda down                         the stack of the compose file here";
pub(super) const LS: &str = "Examples:
  remuda ls
  remuda ls -o json";
pub(super) const STATS: &str = "Examples:
  remuda stats
  remuda stats shop/web";
pub(super) const CONFIG: &str = "Examples:
  remuda config -f docker-compose.yml -f rancher-compose.yml
  remuda config --services
  remuda config --strict > /dev/null  is every key carried out?
  remuda config import shop/web app.yaml --dry-run
  remuda config set shop/web db/host pg
  remuda config ls shop/web
  remuda config history shop/web";
pub(super) const BUILD: &str = "Examples:
  remuda build
  remuda build --no-cache -f compose.yaml";
pub(super) const PULL: &str = "Examples:
  remuda pull                         every image of the compose file here
  remuda pull registry.example.test/shop/web:1.2";
pub(super) const BACKUP: &str = "Examples:
  remuda backup create state.bak
  remuda backup restore state.bak     with the server stopped";
pub(super) const EVENTS: &str = "Examples:
  remuda events --tail 20
  remuda events -f shop/web
  remuda events -o json";
pub(super) const KV: &str = "Examples:
  remuda kv put shop/color green
  remuda kv get shop/color
  remuda kv ls shop/
  remuda kv put shop/config - < config.json
  remuda kv export shop/ > shop.json  in the form of `consul kv export`
  remuda kv import shop.json
  remuda kv history shop/color
  remuda kv rollback shop/color --to 3";
pub(super) const NET: &str = "Examples:
  remuda net check                    which direction between which hosts is broken, and why
  remuda net check h2 -o json";
pub(super) const SVC: &str = "Examples:
  remuda svc show shop/web
  remuda svc scale shop/web 5
  remuda svc restart shop/web
  remuda svc stop shop/web
  remuda svc history shop/web         its revisions, and how each of them did
  remuda svc rollback shop/web        back to what served before
  remuda svc run shop/report          a job, now";
pub(super) const SVC_SHOW: &str = "Examples:
  remuda svc show shop/web
  remuda svc show shop/web -o json | jq '.service.blocked'";
pub(super) const SVC_PAUSE: &str = "Examples:
  remuda up --no-wait && remuda svc pause shop/web
  remuda svc resume shop/web          it goes on, and this waits for its end
  remuda svc abort shop/web           or back to what served before";
pub(super) const SVC_CANARY: &str = "Examples:
  remuda up                           with `canary: 1` it ends when the canary runs
  remuda svc promote shop/web         the rest follows
  remuda svc abort shop/web           or back to what served before";
pub(super) const SVC_ROLLBACK: &str = "Examples:
  remuda svc history shop/web
  remuda svc rollback shop/web        to what served before
  remuda svc rollback shop/web --to 3
  remuda svc finish shop/web          what was kept of before may go";
pub(super) const SVC_DIFF: &str = "Examples:
  remuda svc diff shop/web            what the last change was
  remuda svc diff shop/web 3 5";
pub(super) const SVC_RUN: &str = "Examples:
  remuda svc run shop/report
  remuda svc run shop/report --no-wait
  remuda svc runs shop/report -o json";
pub(super) const HOST: &str = "Examples:
  remuda host ls
  remuda host add root@10.0.0.1 --label zone=a
  remuda host show node-1
  remuda host drain node-1            its instances move elsewhere, then work on it
  remuda host uncordon node-1
  remuda host label node-1 zone=a ssd-
  remuda host rm node-1               its agent is cut off, its certificate worth nothing
  remuda host token create";
pub(super) const HOST_ADD: &str = "Examples:
  remuda host add root@10.0.0.1
  remuda host add ops@10.0.0.2:2222 --host node-2 --label zone=a --identity ~/.ssh/id_ops
  remuda host add --file hosts.txt --parallel 10
  remuda host add root@10.0.0.3 --install-docker --server 10.0.0.9:7600

A file has a machine a line, and may have comments:
  root@10.0.0.1  zone=a,disk=ssd  node-1   # labels and host id may be left out

Passwords are asked for only at a terminal, and for one machine at a time. Run again on a
machine that is in, it says so, and copies the binary if that differs.

Exit codes: 0 all are in, 1 one is not (its reason is told), 2 the words or the file are wrong.";
pub(super) const HOST_TOKEN_CREATE: &str = "Examples:
  remuda host token create
  remuda host token create --ttl 10m --uses 1
  remuda host token create --uses 10 --label zone=east --label disk=ssd
  remuda host token create --host node-1      for a host that has lost its data folder

Then, on the host:
  remuda agent --join SERVER:7600 --token rmj_…";
pub(super) const HOST_DRAIN: &str = "Examples:
  remuda host drain node-1
  remuda host drain node-1 --deadline 2m --force
  remuda host drain node-1 --detach && remuda host show node-1

Exit codes: 0 everything has left, 6 what is left cannot leave (its reasons are told),
  7 the deadline is over.";
pub(super) const HOST_LABEL: &str = "Examples:
  remuda host label node-1 zone=a disk=ssd
  remuda host label node-1 disk-      takes the label away
  remuda host label node-1            shows its labels";
pub(super) const HOST_REBALANCE: &str = "Examples:
  remuda host rebalance               shows what is set
  remuda host rebalance on            one instance of a service at a time, none is missed";
pub(super) const DOCTOR: &str = "Examples:
  sudo remuda doctor
  sudo remuda doctor -o json";
pub(super) const STATUS: &str = "Examples:
  remuda status
  remuda status --wait 60s";
pub(super) const COMPLETION: &str = "Examples:
  remuda completion bash > /etc/bash_completion.d/remuda
  remuda completion zsh > \"${fpath[1]}/_remuda\"
  remuda completion fish > ~/.config/fish/completions/remuda.fish";
pub(super) const VERSION: &str = "Examples:
  remuda version
  remuda version -o json";
