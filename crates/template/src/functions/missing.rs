//! Functions of the original that are not here: a template that calls one is told why.

use super::{Call, Outcome, Table};

pub(super) const TABLE: Table = &[
    ("secret", vault),
    ("secrets", vault),
    ("pkiCert", vault),
    ("nomadServices", nomad),
    ("nomadService", nomad),
    ("nomadVar", nomad),
    ("nomadVarExists", nomad),
    ("nomadVarList", nomad),
    ("nomadVarListSafe", nomad),
    ("connect", mesh),
    ("caRoots", mesh),
    ("caLeaf", mesh),
    ("exportedServices", mesh),
    ("importedServices", mesh),
    ("partitions", mesh),
    ("peerings", mesh),
    ("plugin", |c| Err(c.fail("programs are not run in a render: use command, or a key"))),
    ("writeToFile", |c| Err(c.fail("a render writes nothing: use a template of its own"))),
    ("sockaddr", |c| Err(c.fail("is not here: use env, or node"))),
    ("spew_dump", debug),
    ("spew_sdump", debug),
    ("spew_printf", debug),
    ("spew_sprintf", debug),
];

fn vault(call: &Call<'_>) -> Outcome {
    Err(call.fail("Vault is not asked here; keys and files are"))
}

fn nomad(call: &Call<'_>) -> Outcome {
    Err(call.fail("Nomad is not asked here; the catalog and keys are"))
}

fn mesh(call: &Call<'_>) -> Outcome {
    Err(call.fail("there is no mesh of Consul's here; use service"))
}

fn debug(call: &Call<'_>) -> Outcome {
    Err(call.fail("is not here: use toJSONPretty"))
}
