//! Labels by which our containers, networks and volumes are known. A thing without them is not
//! ours and is never touched.

/// Environment id: on everything that is ours.
pub const ENVIRONMENT: &str = "io.remuda.environment";
/// Instance id as text (`stack/service#n@incarnation`): on containers.
pub const INSTANCE: &str = "io.remuda.instance";
