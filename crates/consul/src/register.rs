//! What clients register: `/v1/agent/service/…`, `/v1/agent/check/…`, `/v1/agent/maintenance`,
//! `/v1/catalog/register` and `deregister`. Here a request becomes an order; who carries orders out
//! is at the other end of a `Registrar`.

mod body;
mod decode;

use crate::acl::guard;
use crate::answer::Answer;
use crate::catalog::Catalog;
use crate::request::Request;
use crate::route::Route;
use crate::serve::Endpoint;
use body::Fields;
use control::register::{Order, Refused, Telling};
use http::{Method, StatusCode};
use model::limits::REGISTRAR_QUEUE_MAX;
use model::registration::{CheckStatus, ClientKey};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Its endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Register {
    Service,
    NoService,
    ServiceMaintenance,
    NodeMaintenance,
    Check,
    NoCheck,
    Tell(CheckStatus),
    Update,
    Node,
    NoNode,
}

const fn put(path: &'static str, to: Register) -> Route<Endpoint> {
    Route { path, methods: &[Method::PUT], to: Endpoint::Register(to) }
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    put("agent/service/register", Register::Service),
    put("agent/service/deregister/", Register::NoService),
    put("agent/service/maintenance/", Register::ServiceMaintenance),
    put("agent/maintenance", Register::NodeMaintenance),
    put("agent/check/register", Register::Check),
    put("agent/check/deregister/", Register::NoCheck),
    put("agent/check/pass/", Register::Tell(CheckStatus::Passing)),
    put("agent/check/warn/", Register::Tell(CheckStatus::Warning)),
    put("agent/check/fail/", Register::Tell(CheckStatus::Critical)),
    put("agent/check/update/", Register::Update),
    put("catalog/register", Register::Node),
    put("catalog/deregister", Register::NoNode),
];

/// What is wanted of who carries orders out.
#[derive(Debug)]
pub enum Ask {
    /// This.
    Order(Box<Order>),
    /// That the word of a client on its check is taken.
    Tell(Telling),
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may not be.
    Refused(Refused),
    /// It could not be kept; again later it may be.
    Failed(String),
}

/// What is asked, and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub ask: Ask,
    /// When the client was heard: what it said counts from then, however long it waits here.
    pub at: Instant,
    /// Where to.
    pub answer: oneshot::Sender<Result<(), Failure>>,
}

/// The way to who carries orders out. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Registrar(mpsc::Sender<Asked>);

impl Registrar {
    /// A way, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, asked) = mpsc::channel(REGISTRAR_QUEUE_MAX);
        (Self(sender), asked)
    }

    async fn ask(&self, ask: Ask) -> Result<(), Failure> {
        let away = || Failure::Failed("No cluster leader".into());
        let (answer, answered) = oneshot::channel();
        let asked = Asked { ask, at: Instant::now(), answer };
        self.0.send(asked).await.map_err(|_ended| away())?;
        answered.await.unwrap_or_else(|_ended| Err(away()))
    }
}

/// Answers a request.
pub(crate) async fn answer(
    registrar: &Registrar,
    catalog: &Catalog,
    endpoint: Register,
    request: &Request,
) -> Answer {
    let ask = match read(endpoint, request) {
        Ok(ask) => ask,
        Err(answer) => return answer,
    };
    if let Err(denied) = may(&ask, catalog, request) {
        return denied;
    }
    let outside = matches!(endpoint, Register::Node | Register::NoNode);
    match registrar.ask(ask).await {
        Ok(()) if outside => Answer::json(&true),
        // What is to be gone is.
        Err(Failure::Refused(Refused::Unknown(_))) if matches!(endpoint, Register::NoNode) => {
            Answer::json(&true)
        }
        Ok(()) => Answer::empty(StatusCode::OK),
        Err(Failure::Refused(refused)) => refusal(refused),
        Err(Failure::Failed(why)) => Answer::failed(why),
    }
}

/// May it be done with the token of the request?
fn may(ask: &Ask, catalog: &Catalog, request: &Request) -> Result<(), Answer> {
    if request.access.is_all() {
        return Ok(());
    }
    let shown = catalog.shown();
    match ask {
        Ask::Order(order) => guard::order(&request.access, &shown, order),
        Ask::Tell(telling) => guard::told(&request.access, &shown, &telling.key),
    }
}

fn refusal(refused: Refused) -> Answer {
    match refused {
        Refused::Bad(why) | Refused::Full(why) => Answer::bad(why),
        Refused::Unknown(why) => Answer::not_found(why),
        Refused::Forbidden(why) => Answer::error(StatusCode::FORBIDDEN, why),
    }
}

/// What a request asks for.
fn read(endpoint: Register, request: &Request) -> Result<Ask, Answer> {
    let node = request.node.as_str();
    let id = |prefix: &str, what: &str| match request.after(prefix) {
        "" => Err(Answer::bad(format!("Missing {what} ID"))),
        id => Ok(ClientKey::new(node, id)),
    };
    Ok(match endpoint {
        Register::Service => {
            let replace = request.query.get("replace-existing-checks");
            let replace = replace.is_some_and(|value| value.is_empty() || value == "true");
            Ask::Order(Box::new(decode::service_order(&request.body, node, replace)?))
        }
        Register::NoService => {
            Ask::Order(Box::new(Order::NoService(id("agent/service/deregister/", "service")?)))
        }
        Register::ServiceMaintenance => {
            maintenance(request, id("agent/service/maintenance/", "service")?)?
        }
        Register::NodeMaintenance => maintenance(request, ClientKey::new(node, ""))?,
        Register::Check => Ask::Order(Box::new(decode::check_order(&request.body, node)?)),
        Register::NoCheck => {
            Ask::Order(Box::new(Order::NoCheck(id("agent/check/deregister/", "check")?)))
        }
        Register::Tell(status) => {
            let verb = match status {
                CheckStatus::Passing => "agent/check/pass/",
                CheckStatus::Warning => "agent/check/warn/",
                CheckStatus::Critical => "agent/check/fail/",
            };
            let output = request.query.text("note").unwrap_or("").to_owned();
            Ask::Tell(Telling { key: id(verb, "check")?, status, output })
        }
        Register::Update => {
            let key = id("agent/check/update/", "check")?;
            let fields = Fields::parse(&request.body)?;
            let word = fields.text("Status")?;
            let status = CheckStatus::parse(&word)
                .ok_or_else(|| Answer::bad(format!("Invalid check status: '{word}'")))?;
            Ask::Tell(Telling { key, status, output: fields.text("Output")? })
        }
        Register::Node => Ask::Order(Box::new(decode::node_order(&request.body)?)),
        Register::NoNode => Ask::Order(Box::new(decode::no_node_order(&request.body)?)),
    })
}

fn maintenance(request: &Request, of: ClientKey) -> Result<Ask, Answer> {
    let on = match request.query.text("enable") {
        None => return Err(Answer::bad("Missing value for enable")),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            return Err(Answer::bad(format!("Invalid value for enable: {other:?}")));
        }
    };
    let reason = request.query.text("reason").unwrap_or("").to_owned();
    Ok(Ask::Order(Box::new(Order::Maintenance { of, on, reason })))
}
