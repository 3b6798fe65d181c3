//! `/v1/coordinate/…`: where nodes are in a space of round trips. Remuda measures none: what somebody
//! tells is kept in memory, and orders what `?near=` asks for.

use crate::acl::Named;
use crate::answer::Answer;
use crate::catalog::endpoints::Reads;
use crate::fold;
use crate::request::Request;
use crate::route::Route;
use crate::serve::{DATACENTER, Endpoint, Facts};
use http::{Method, StatusCode};
use model::limits::COORDINATES_MAX;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Dimensions of the space.
const DIMENSIONS: usize = 8;

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coordinate {
    Datacenters,
    Nodes,
    Node,
    Update,
}

const fn row(path: &'static str, methods: &'static [Method], to: Coordinate) -> Route<Endpoint> {
    Route { path, methods, to: Endpoint::Coordinate(to) }
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("coordinate/datacenters", &[Method::GET], Coordinate::Datacenters),
    row("coordinate/nodes", &[Method::GET], Coordinate::Nodes),
    row("coordinate/node/", &[Method::GET], Coordinate::Node),
    row("coordinate/update", &[Method::PUT], Coordinate::Update),
];

/// A place in the space; seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Coord {
    vec: [f64; DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl Default for Coord {
    /// Where a node is that nobody has measured.
    fn default() -> Self {
        Self { vec: [0.0; DIMENSIONS], error: 1.5, adjustment: 0.0, height: 1e-5 }
    }
}

impl Coord {
    fn read(value: &Value) -> Option<Self> {
        let number = |key: &str| fold::get(value, key)?.as_f64().filter(|n| n.is_finite());
        let vec = fold::get(value, "Vec")?.as_array()?;
        let vec: Vec<f64> = vec.iter().filter_map(Value::as_f64).collect();
        Some(Self {
            vec: vec.try_into().ok()?,
            error: number("Error")?,
            adjustment: number("Adjustment")?,
            height: number("Height")?,
        })
    }

    /// A round trip, in seconds.
    fn distance(&self, other: &Self) -> f64 {
        let square: f64 = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b).powi(2)).sum();
        let raw = square.sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    node: &'a str,
    segment: &'a str,
    coord: Coord,
}

/// What was told, by node. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coordinates(Arc<Mutex<BTreeMap<String, Coord>>>);

impl Coordinates {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Coord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Round trips from a node to those whose place is known; none when its own is not.
    pub(crate) fn from(&self, node: &str) -> BTreeMap<String, f64> {
        let all = self.all();
        let Some(own) = all.get(node) else { return BTreeMap::new() };
        all.iter().map(|(name, coord)| (name.clone(), own.distance(coord))).collect()
    }
}

/// Answers one of them.
pub(crate) fn answer(
    reads: Reads<'_>,
    facts: &Facts,
    endpoint: Coordinate,
    request: &Request,
) -> Answer {
    let shown = reads.catalog.shown();
    let index = shown.tables.nodes_index().0;
    let mut all = reads.catalog.coordinates().all();
    let told = |(node, coord): (&String, &Coord)| -> Value {
        serde_json::to_value(Told { node, segment: "", coord: *coord }).unwrap_or_default()
    };
    match endpoint {
        Coordinate::Datacenters => Answer::json(&serde_json::json!([{
            "Datacenter": DATACENTER, "AreaID": "wan",
            "Coordinates": [Told {
                node: &format!("{}.{DATACENTER}", facts.node), segment: "", coord: Coord::default(),
            }],
        }])),
        Coordinate::Nodes => {
            let sees = |node: &str| request.access.sees(Named::Node, node);
            all.retain(|node, _| shown.nodes.contains_key(node) && sees(node));
            Answer::json(&all.iter().map(told).collect::<Vec<_>>()).with_index(index)
        }
        Coordinate::Node => {
            let node = request.after("coordinate/node/").trim_end_matches('/');
            match all.get_key_value(node) {
                Some(found) => Answer::json(&[told(found)]).with_index(index),
                None => Answer::empty(StatusCode::NOT_FOUND).with_index(index),
            }
        }
        Coordinate::Update => {
            let body = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
            let coord = fold::get(&body, "Coord").and_then(Coord::read);
            let node = fold::text(&body, "Node");
            let Some(coord) = coord else {
                return Answer::bad(
                    "Request decode failed: Coord must have Vec of 8 numbers, Error, Adjustment and Height",
                );
            };
            if !shown.nodes.contains_key(node) || all.len() >= COORDINATES_MAX {
                return Answer::bad(format!("node {node:?} is not in the catalog"));
            }
            all.insert(node.to_owned(), coord);
            Answer::empty(StatusCode::OK)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::tests::World;

    fn place(node: &str, x: f64) -> String {
        format!(
            "{{\"Node\":\"{node}\",\"Coord\":{{\"Vec\":[{x},0,0,0,0,0,0,0],\"Error\":1,\
             \"Adjustment\":0,\"Height\":0.0}}}}"
        )
    }

    #[tokio::test]
    async fn what_is_told_is_kept_and_orders_what_is_near() {
        let mut world = World::new().await;
        let far = crate::catalog::tests::host("h0", "10.0.0.3", model::host::HostLink::Active, &[]);
        world.apply(vec![far]);
        assert_eq!(world.text("coordinate/nodes").await, "[]");
        assert_eq!(world.ask("GET", "coordinate/node/h1").await.status, 404);
        for (node, x) in [("h0", 0.9), ("h1", 0.5), ("h2", 0.4)] {
            assert_eq!(world.send("PUT", "coordinate/update", &place(node, x)).await.status, 200);
        }
        let told = world.text("coordinate/node/h2").await;
        assert!(told.contains("\"Node\":\"h2\"") && told.contains("0.4"), "{told}");
        for (near, order) in
            [("h1", ["h1", "h2", "h0"]), ("h2", ["h2", "h1", "h0"]), ("h0", ["h0", "h1", "h2"])]
        {
            let nodes = world.text(&format!("catalog/nodes?near={near}")).await;
            let at = order.map(|name| nodes.find(&format!("\"Node\":\"{name}\"")).unwrap());
            assert!(at.is_sorted(), "{near}: {nodes}");
        }
    }

    #[tokio::test]
    async fn what_is_no_place_is_refused() {
        let world = World::new().await;
        for body in [
            "",
            "[]",
            "{\"Node\":\"h1\"}",
            &place("nobody", 1.0),
            "{\"Node\":\"h1\",\"Coord\":{\"Vec\":[1]}}",
        ] {
            let answer = world.send("PUT", "coordinate/update", body).await;
            assert_eq!(answer.status, 400, "{body}");
        }
        let centers = world.text("coordinate/datacenters").await;
        assert!(
            centers.contains("\"Datacenter\":\"dc1\"") && centers.contains("h1.dc1"),
            "{centers}"
        );
    }
}
