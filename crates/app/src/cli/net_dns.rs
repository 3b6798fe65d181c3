//! `net dns`: how names in DNS are answered in the environment.

use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest};
use clap::Args;
use http::Method;
use model::dns::{DnsSettings, NobodyHealthy};
use model::host::Environment;

pub(super) const HELP: &str = "Without any option it is shown. A service says for itself what is answered when none of its
instances is healthy, with the label io.remuda.dns.nobody_healthy=none (or all). More in docs/dns.md.

Examples:
  remuda net dns
  remuda net dns --ttl 30
  remuda net dns --nobody-healthy none
  remuda net dns --hosts-file true        names work in images that ask no DNS
  remuda net dns --service-ttl web=5 --service-ttl 'api-*=2' --service-ttl '*=1'
  remuda net dns --service-ttl web=
  remuda net dns --domain consul --alt-domain dc.example --datacenter dc1
  remuda net dns --domain ''              no names of Consul";

/// Options of `net dns`.
#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// Seconds that an answer with names of ours holds, 0 to 600
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// What a service's name answers when none of its instances is healthy: all or none
    #[arg(long, value_name = "WHAT")]
    nobody_healthy: Option<NobodyHealthy>,
    /// Write the names of services into the /etc/hosts of containers, too
    #[arg(long, value_name = "TRUE|FALSE")]
    hosts_file: Option<bool>,
    /// Where names of Consul end; empty turns them off
    #[arg(long)]
    domain: Option<String>,
    /// A second such end; empty is none
    #[arg(long)]
    alt_domain: Option<String>,
    /// The name of the datacenter in them
    #[arg(long, value_name = "NAME")]
    datacenter: Option<String>,
    /// Leave out what warns, too
    #[arg(long, value_name = "TRUE|FALSE")]
    only_passing: Option<bool>,
    /// Seconds that an answer about a node of Consul holds
    #[arg(long, value_name = "SECONDS")]
    node_ttl: Option<u32>,
    /// NAME=SECONDS for a service of Consul, `web*` for names that begin so, `*` for all others;
    /// NAME= takes it away
    #[arg(long, value_name = "NAME=SECONDS")]
    service_ttl: Vec<String>,
    /// Most answers over UDP to who offers no EDNS; 0 is as many as fit
    #[arg(long, value_name = "NUMBER")]
    udp_answers: Option<u16>,
}

impl DnsArgs {
    /// Makes of what is what is wanted.
    fn apply(self, settings: &mut DnsSettings) -> Outcome {
        let consul = &mut settings.consul;
        let clean = |name: String| name.trim_matches('.').to_ascii_lowercase();
        settings.ttl_s = self.ttl.unwrap_or(settings.ttl_s);
        settings.nobody_healthy = self.nobody_healthy.unwrap_or(settings.nobody_healthy);
        settings.hosts_file = self.hosts_file.unwrap_or(settings.hosts_file);
        for (new, known) in [
            (self.domain, &mut consul.domain),
            (self.alt_domain, &mut consul.alt_domain),
            (self.datacenter, &mut consul.datacenter),
        ] {
            if let Some(new) = new {
                *known = clean(new);
            }
        }
        consul.only_passing = self.only_passing.unwrap_or(consul.only_passing);
        consul.node_ttl_s = self.node_ttl.unwrap_or(consul.node_ttl_s);
        consul.udp_answers = self.udp_answers.unwrap_or(consul.udp_answers);
        for text in self.service_ttl {
            let wrong = || Failure::usage(format!("--service-ttl {text:?} is not NAME=SECONDS"));
            let (name, seconds) = text.split_once('=').ok_or_else(wrong)?;
            let name = name.to_ascii_lowercase();
            match seconds {
                "" => drop(consul.service_ttl_s.remove(&name)),
                _ => {
                    let seconds = seconds.parse().map_err(|_no_number| wrong())?;
                    consul.service_ttl_s.insert(name, seconds);
                }
            }
        }
        Ok(())
    }
}

/// `remuda net dns`.
///
/// # Errors
/// Exit code 2 for what may not be said.
pub(super) async fn run(global: &Global, client: &Client, args: DnsArgs) -> Outcome {
    let environment: Environment = client.get(routes::ENVIRONMENT).await?;
    let mut dns = environment.dns.clone();
    args.apply(&mut dns)?;
    if dns == environment.dns {
        match global.output {
            Format::Json => output::json(&dns),
            _ => show(&dns),
        }
        return Ok(());
    }
    dns.check().map_err(Failure::usage)?;
    let request = EnvironmentRequest { dns: Some(dns.clone()), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        show(&dns);
    }
    Ok(())
}

fn show(dns: &DnsSettings) {
    let consul = &dns.consul;
    let or =
        |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let ttls = consul.service_ttl_s.iter().map(|(name, ttl)| format!("{name}={ttl}"));
    let rows = [
        ("ttl", format!("{} s", dns.ttl_s)),
        ("nobody healthy", dns.nobody_healthy.as_str().to_owned()),
        ("names in /etc/hosts", dns.hosts_file.to_string()),
        ("consul domain", or(&consul.domain, "off")),
        ("consul alternative domain", or(&consul.alt_domain, "none")),
        ("consul datacenter", consul.datacenter.clone()),
        ("consul only passing", consul.only_passing.to_string()),
        ("consul node ttl", format!("{} s", consul.node_ttl_s)),
        ("consul service ttl", or(&ttls.collect::<Vec<_>>().join(" "), "0 s")),
        ("consul udp answers", consul.udp_answers.to_string()),
    ];
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(what, value)| {
            vec![Cell::from(what.to_owned()), Cell::from(output::harmless(&value))]
        })
        .collect();
    output::table(&["SETTING", "VALUE"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DnsArgs,
    }

    fn applied(words: &[&str]) -> Result<DnsSettings, String> {
        let line = Line::try_parse_from(std::iter::once(&"dns").chain(words));
        let mut settings = DnsSettings::default();
        settings.consul.service_ttl_s.insert("old".into(), 9);
        let line = line.map_err(|error| error.to_string())?;
        line.args.apply(&mut settings).map_err(|_failure| "usage".to_owned())?;
        Ok(settings)
    }

    #[test]
    fn what_is_said_is_set_and_the_rest_stays() {
        assert!(applied(&["--hosts-file", "true"]).unwrap().hosts_file);
        let words = ["--ttl", "30", "--nobody-healthy", "none", "--domain", "DC.Example."];
        let set = applied(&words).unwrap();
        assert!(!set.hosts_file);
        assert_eq!((set.ttl_s, set.nobody_healthy), (30, NobodyHealthy::None));
        assert_eq!(set.consul.domain, "dc.example");
        assert_eq!(set.consul.datacenter, "dc1");
        let ttls = ["--service-ttl", "Web=5", "--service-ttl", "*=1", "--service-ttl", "old="];
        let set = applied(&ttls).unwrap().consul.service_ttl_s;
        assert_eq!(set, [("*".to_owned(), 1), ("web".to_owned(), 5)].into());
        for wrong in [["--service-ttl", "web"], ["--service-ttl", "web=x"], ["--ttl", "-1"]] {
            assert!(applied(&wrong).is_err(), "{wrong:?}");
        }
    }
}
