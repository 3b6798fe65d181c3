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
  remuda config --strict > /dev/null  is every key carried out?";
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
pub(super) const SVC: &str = "Examples:
  remuda svc show shop/web
  remuda svc scale shop/web 5
  remuda svc restart shop/web
  remuda svc stop shop/web";
pub(super) const HOST: &str = "Examples:
  remuda host ls
  remuda host token create";
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
