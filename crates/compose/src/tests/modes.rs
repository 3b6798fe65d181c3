//! Copies, one a host, runs of a job, and who decides how many.

use super::{given, web};
use crate::render;
use model::scaling::{Concurrency, JobSpec, Metric, Mode, Scaling};
use model::service::RestartPolicy;

fn job(lines: &str) -> JobSpec {
    match web(lines).service().mode {
        Mode::Job(job) => *job,
        other => panic!("{lines}: {other:?}"),
    }
}

#[test]
fn a_global_service_is_said_in_two_ways_and_has_no_scale() {
    for lines in [
        "deploy: {mode: global}",
        "labels: {io.rancher.scheduler.global: 'true'}",
        "deploy: {mode: global}\nscale: 1",
        "deploy: {labels: {io.rancher.scheduler.global: 'yes'}}",
    ] {
        let web = web(lines).service();
        assert_eq!((web.mode, web.scale), (Mode::Global, None), "{lines}");
    }
    let loaded = web("deploy: {mode: global, replicas: 3}").warned("scale has no effect");
    assert_eq!(super::service(&loaded, "web").scale, None);
    for lines in
        ["", "deploy: {mode: replicated}", "labels: {io.rancher.scheduler.global: 'false'}"]
    {
        assert_eq!(web(lines).service().mode, Mode::Replicated, "{lines}");
    }
    let balancer = given(
        "services:\n  web:\n    labels: {io.rancher.scheduler.global: 'true'}\n    lb_config: \
         {port_rules: [{source_port: 80, target_port: 80, service: o/web}]}\n",
    );
    assert_eq!(balancer.service().mode, Mode::Global);
}

#[test]
fn jobs_of_swarm_end_once_and_keep_their_mode() {
    let of = |lines: &str| {
        let web = web(lines).service();
        (web.mode, web.template.restart)
    };
    let on_failure = |max_attempts| RestartPolicy::OnFailure { max_attempts };
    assert_eq!(of("deploy: {mode: replicated-job}"), (Mode::Replicated, on_failure(None)));
    assert_eq!(of("deploy: {mode: global-job}"), (Mode::Global, on_failure(None)));
    let never = "deploy: {mode: global-job, restart_policy: {condition: none}}";
    assert_eq!(of(never), (Mode::Global, RestartPolicy::No));
}

#[test]
fn a_schedule_makes_a_job() {
    for lines in [
        "schedule: '30 3 * * 1-5'",
        "schedule: {cron: '30 3 * * 1-5'}",
        "job: '30 3 * * 1-5'",
        "job: {cron: '30 3 * * 1-5'}",
        "x-remuda-schedule: '30 3 * * 1-5'",
        "deploy: {x-remuda-schedule: '30 3 * * 1-5'}",
    ] {
        let loaded = web(lines).clean();
        assert_eq!(given(&render(&loaded)).clean().spec, loaded.spec, "{lines}");
        let job = job(lines);
        assert_eq!(job.schedule.as_ref().map(|s| s.fields()), Some("30 3 * * 1-5"), "{lines}");
        assert_eq!(JobSpec { schedule: None, ..job }, JobSpec::default(), "{lines}");
    }
    let whole =
        job("schedule:\n  cron: '@daily'\n  time_zone: Asia/Shanghai\n  concurrency: replace\n  \
         timeout: 1h30m\n  history: 7\n  starting_deadline: 2m");
    let schedule = whole.schedule.as_ref().unwrap();
    assert_eq!((schedule.fields(), schedule.zone()), ("@daily", "Asia/Shanghai"));
    assert_eq!(whole.concurrency, Concurrency::Replace);
    assert_eq!((whole.timeout_ms, whole.history), (Some(5_400_000), 7));
    assert_eq!(whole.starting_deadline_ms, 120_000);
    let split = job("schedule: '* * * * *'\njob: {timeout: 5m, concurrency: allow}");
    assert_eq!((split.timeout_ms, split.concurrency), (Some(300_000), Concurrency::Allow));
    assert!(split.schedule.is_some());
}

#[test]
fn a_job_may_wait_until_it_is_told_to_run() {
    for lines in ["job: {}", "job:", "job: true", "schedule: manual", "job: {timeout: 5m}"] {
        assert_eq!(job(lines).schedule, None, "{lines}");
    }
    assert_eq!(web("job: false").service().mode, Mode::Replicated);
}

#[test]
fn the_runs_of_a_job_end() {
    let restart = |lines: &str| web(lines).service().template.restart;
    assert_eq!(restart("job: {}"), RestartPolicy::No);
    let on_failure = RestartPolicy::OnFailure { max_attempts: Some(3) };
    assert_eq!(restart("job: {}\nrestart: on-failure:3"), on_failure);
    let loaded = web("job: {}\nrestart: always").warned("restart has no effect");
    assert_eq!(super::service(&loaded, "web").template.restart, RestartPolicy::No);
    let loaded = web("job: {}\nscale: 3").warned("each run of a job is one instance");
    assert_eq!(super::service(&loaded, "web").scale, None);
}

#[test]
fn scaling_follows_what_fits_or_what_is_asked_for() {
    let scaling = |lines: &str| web(lines).service().scaling.unwrap();
    let load = |metric, target| Scaling::Load {
        min: 1,
        max: 8,
        metric,
        target,
        down_after_ms: 300_000,
        up_after_ms: 30_000,
    };
    for (lines, expected) in [
        (
            "scale_policy: {min: 2, max: 5, increment: 2}",
            Scaling::Fit { min: 2, max: 5, increment: 2 },
        ),
        ("autoscale: {max: 8, cpu: 70}", load(Metric::Cpu, 70)),
        ("autoscale: {max: 8, cpu: '70%'}", load(Metric::Cpu, 70)),
        ("autoscale: {min: 1, max: 8, memory: 80 %}", load(Metric::Memory, 80)),
        ("autoscale: {max: 8, requests: 100}", load(Metric::Requests, 100)),
        ("x-remuda-autoscale: {max: 8, cpu: 100}", load(Metric::Cpu, 100)),
        ("deploy: {x-autoscale: {max: 8, cpu: 100}}", load(Metric::Cpu, 100)),
        ("deploy: {x-remuda-autoscale: {max: 8, cpu: 100}}", load(Metric::Cpu, 100)),
        (
            "autoscale: {min: 2, max: 9, cpu: 50, down_after: 10m, up_after: 5s}",
            Scaling::Load {
                min: 2,
                max: 9,
                metric: Metric::Cpu,
                target: 50,
                down_after_ms: 600_000,
                up_after_ms: 5_000,
            },
        ),
    ] {
        assert_eq!(scaling(lines), expected, "{lines}");
    }
    let balancer = given(
        "services:\n  web:\n    autoscale: {max: 3, cpu: 70}\n    lb_config: {port_rules: \
         [{source_port: 80, target_port: 80, service: o/web}]}\n",
    );
    let loaded = balancer.warned("a balancer has no container to measure");
    assert_eq!(super::service(&loaded, "web").scaling, None);
    let policy = "scale_policy: {min: 2, max: 5}";
    let loaded = web(&format!("{policy}\nscale: 3")).warned("scale_policy decides on it");
    assert_eq!(super::service(&loaded, "web").scale, None);
    web(&format!("{policy}\nscale: 2")).clean();
    web(&format!("{policy}\ndeploy: {{mode: global}}"))
        .warned("scale_policy has no effect: a global service");
    web("job: {}\nautoscale: {max: 2, cpu: 70}").warned("autoscale has no effect");
    web("x-remuda-autoscal: {max: 2}").warned("did you mean \"autoscale\"?");
}

/// Lines below the service, line of the error counted from there, message, what is expected.
#[rustfmt::skip]
const BAD: &[(&str, u32, &str, &str)] = &[
    ("schedule: '* * * *'", 1, "schedule \"* * * *\"", "minute hour day-of-month"),
    ("schedule:\n  cron: '61 * * * *'", 2, "schedule \"61 * * * *\"", "minute hour"),
    ("schedule: '0 0 30 2 *'", 1, "it never fires", "minute hour"),
    ("schedule: ''", 1, "schedule \"\"", "minute hour"),
    ("x-remuda-schedule: nonsense", 1, "schedule \"nonsense\"", "minute hour"),
    ("schedule:\n  cron: '* * * * *'\n  time_zone: Mars/Olympus", 3, "Mars/Olympus", "a time zone such as"),
    ("schedule: {cron: '* * * * *', concurrency: never}", 1, "concurrency is \"never\"", "forbid, allow or replace"),
    ("schedule: {cron: '* * * * *', timeout: soon}", 1, "timeout is \"soon\"", "a duration"),
    ("schedule: {cron: '* * * * *', history: 1000}", 1, "history is \"1000\"", "from 0 to 100"),
    ("schedule: [a]", 1, "schedule is a list", "a map"),
    ("schedule: '* * * * *'\nx-remuda-schedule: '* * * * *'", 2, "schedule is here twice", "one of the two"),
    ("job: {}\ndeploy: {mode: global}", 1, "a job runs one instance at a time", "a schedule, or one instance"),
    ("deploy: {mode: everywhere}", 1, "mode is \"everywhere\"", "replicated, global"),
    ("autoscale: {max: 3}", 1, "does not say what it follows", "one of cpu, memory and requests"),
    ("autoscale: {max: 3, cpu: 0}", 1, "cpu is \"0\"", "per cent, from 1 to 1000"),
    ("autoscale: {max: 3, cpu: 5x}", 1, "cpu is \"5x\"", "per cent, from 1 to 1000"),
    ("autoscale: {max: 3, requests: '70%'}", 1, "requests is \"70%\"", "requests per second"),
    ("autoscale: {max: 3, cpu: [1]}", 1, "cpu is a list", "per cent"),
    ("autoscale: {max: 3, cpu: 1, memory: 1}", 1, "it follows one thing", "one of cpu, memory and requests"),
    ("autoscale: {cpu: 70}", 1, "autoscale has no max", "max: 1 to 10000"),
    ("autoscale: {min: 4, max: 3, cpu: 70}", 1, "min 4 is above max 3", "min at most max"),
    ("autoscale: {min: 0, max: 3, cpu: 70}", 1, "min is 0", "at least 1"),
    ("autoscale: {max: 1000000000, cpu: 70}", 1, "max is \"1000000000\"", "from 1 to 10000"),
    ("autoscale: {max: 3, cpu: 70, down_after: 5}", 1, "down_after is \"5\"", "a duration"),
];

#[test]
fn what_cannot_be_carried_out_is_refused_at_its_place() {
    for (lines, line, message, expected) in BAD {
        let errors = web(lines).refused();
        let first = &errors.errors[0];
        assert!(first.message.contains(message), "{lines}: {errors}");
        assert!(first.expected.as_deref().unwrap_or("").contains(expected), "{lines}: {errors}");
        assert_eq!((first.line, first.column > 1), (3 + line, true), "{lines}: {errors}");
    }
    let errors = web("scale_policy: {max: 2}\nautoscale: {max: 2, cpu: 70}").refused();
    assert!(errors.to_string().contains("exclude each other"), "{errors}");
    let errors = web(&format!("schedule: '{}'", "*".repeat(10_000))).refused().to_string();
    assert!(errors.contains("longer than 256 bytes") && errors.len() < 2_000, "{errors}");
    let errors = given(
        "services:\n  web:\n    job: {}\n    lb_config: {port_rules: [{source_port: 80, \
         target_port: 80, service: o/web}]}\n",
    )
    .refused();
    assert!(errors.to_string().contains("only containers can be a job"), "{errors}");
}
