//! Which fields the objects of replies have, and of which kind: what a selector may name.

use super::Operator;

/// The kind of a field.
#[derive(Debug)]
pub enum Shape {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// true or false.
    Bool,
    /// A list of texts.
    Texts,
    /// Anything by name.
    Map(&'static Shape),
    /// A list of objects: a selector through it holds when it holds for one of them.
    List(&'static Shape),
    /// An object with these fields; in replies it may be null.
    Object(&'static [(&'static str, Shape)]),
}

impl Shape {
    /// What a selector leads to; `None` when there is no such thing.
    #[must_use]
    pub fn at(&self, selector: &[String]) -> Option<&Self> {
        let Some((first, rest)) = selector.split_first() else { return Some(self) };
        match self {
            Self::Object(fields) => {
                fields.iter().find(|(name, _)| name == first).and_then(|(_, shape)| shape.at(rest))
            }
            Self::Map(of) => of.at(rest),
            Self::List(of) => of.at(selector),
            Self::Text | Self::Number | Self::Bool | Self::Texts => None,
        }
    }

    /// Can it be tested so?
    #[must_use]
    pub fn takes(&self, operator: Operator) -> bool {
        let empty = matches!(operator, Operator::IsEmpty | Operator::IsNotEmpty);
        let equal = matches!(operator, Operator::Equal | Operator::NotEqual);
        let within = matches!(operator, Operator::In | Operator::NotIn);
        match self {
            Self::Text => true,
            Self::Number | Self::Bool => equal,
            Self::Texts | Self::Map(_) => empty || within,
            Self::List(_) => empty,
            Self::Object(_) => false,
        }
    }

    /// The names that a selector may begin with.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Object(fields) => fields.iter().map(|(name, _)| *name).collect(),
            Self::List(of) => of.names(),
            Self::Text | Self::Number | Self::Bool | Self::Texts | Self::Map(_) => vec![],
        }
    }
}

const TEXT: Shape = Shape::Text;
const TEXT_MAP: Shape = Shape::Map(&TEXT);
const ADDRESS: Shape = Shape::Object(&[("Address", TEXT), ("Port", Shape::Number)]);
const ADDRESSES: Shape = Shape::Map(&ADDRESS);
const WEIGHTS: Shape = Shape::Object(&[("Passing", Shape::Number), ("Warning", Shape::Number)]);
const CONNECT: Shape = Shape::Object(&[("Native", Shape::Bool)]);
const PROXY: Shape = Shape::Object(&[
    ("DestinationServiceName", TEXT),
    ("DestinationServiceID", TEXT),
    ("LocalServiceAddress", TEXT),
    ("LocalServicePort", Shape::Number),
    ("Mode", TEXT),
]);

const NODE_FIELDS: &[(&str, Shape)] = &[
    ("ID", TEXT),
    ("Node", TEXT),
    ("Address", TEXT),
    ("Datacenter", TEXT),
    ("TaggedAddresses", TEXT_MAP),
    ("Meta", TEXT_MAP),
    ("Partition", TEXT),
    ("PeerName", TEXT),
];

const SERVICE_FIELDS: &[(&str, Shape)] = &[
    ("ID", TEXT),
    ("Service", TEXT),
    ("Kind", TEXT),
    ("Tags", Shape::Texts),
    ("Meta", TEXT_MAP),
    ("Port", Shape::Number),
    ("Address", TEXT),
    ("SocketPath", TEXT),
    ("TaggedAddresses", ADDRESSES),
    ("Weights", WEIGHTS),
    ("EnableTagOverride", Shape::Bool),
    ("Datacenter", TEXT),
    ("Proxy", PROXY),
    ("Connect", CONNECT),
    ("PeerName", TEXT),
];

const CHECK_FIELDS: &[(&str, Shape)] = &[
    ("Node", TEXT),
    ("CheckID", TEXT),
    ("Name", TEXT),
    ("Status", TEXT),
    ("Notes", TEXT),
    ("Output", TEXT),
    ("ServiceID", TEXT),
    ("ServiceName", TEXT),
    ("ServiceTags", Shape::Texts),
    ("Type", TEXT),
    ("Interval", TEXT),
    ("Timeout", TEXT),
    ("ExposedPort", Shape::Number),
    ("PeerName", TEXT),
];

/// An object of `/v1/catalog/nodes`.
pub(crate) static NODE: Shape = Shape::Object(NODE_FIELDS);

/// An object of `/v1/agent/services` and `/v1/catalog/node-services`.
pub(crate) static SERVICE: Shape = Shape::Object(SERVICE_FIELDS);

/// An object of `/v1/health/checks` and its kin.
pub(crate) static CHECK: Shape = Shape::Object(CHECK_FIELDS);

/// An object of `/v1/catalog/service`.
pub(crate) static CATALOG_SERVICE: Shape = Shape::Object(&[
    ("ID", TEXT),
    ("Node", TEXT),
    ("Address", TEXT),
    ("Datacenter", TEXT),
    ("TaggedAddresses", TEXT_MAP),
    ("NodeMeta", TEXT_MAP),
    ("ServiceKind", TEXT),
    ("ServiceID", TEXT),
    ("ServiceName", TEXT),
    ("ServiceTags", Shape::Texts),
    ("ServiceAddress", TEXT),
    ("ServiceTaggedAddresses", ADDRESSES),
    ("ServiceWeights", WEIGHTS),
    ("ServiceMeta", TEXT_MAP),
    ("ServicePort", Shape::Number),
    ("ServiceSocketPath", TEXT),
    ("ServiceEnableTagOverride", Shape::Bool),
    ("ServiceProxy", PROXY),
    ("ServiceConnect", CONNECT),
    ("PeerName", TEXT),
]);

/// An object of `/v1/health/service`.
pub(crate) static HEALTH_SERVICE: Shape = Shape::Object(&[
    ("Node", Shape::Object(NODE_FIELDS)),
    ("Service", Shape::Object(SERVICE_FIELDS)),
    ("Checks", Shape::List(&Shape::Object(CHECK_FIELDS))),
]);
