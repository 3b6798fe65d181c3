//! Bounds of `remuda template` and `remuda confd`.

/// Largest template, configuration file or file that a template reads, in bytes.
pub const TEMPLATE_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest text that a template may render, in bytes.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest text or list of bytes that one template function makes, in bytes or elements.
pub const TEMPLATE_VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most turns of all `range` of one render.
pub const TEMPLATE_TURNS_MAX: u64 = 5_000_000;
/// Deepest nesting of `executeTemplate`.
pub const TEMPLATE_NESTED_MAX: usize = 16;
/// Stack of the thread that renders, in bytes: nested templates go deep.
pub const TEMPLATE_STACK_BYTES: usize = 256 * 1024 * 1024;
/// Most templates of one process.
pub const TEMPLATES_MAX: usize = 1_000;
/// Most things that the templates of one process ask for, each with its own connection.
pub const TEMPLATE_QUERIES_MAX: usize = 5_000;
/// Largest answer to one thing that a template asks for, in bytes.
pub const TEMPLATE_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers that wait to be taken up before those who ask wait.
pub const TEMPLATE_QUEUE_MAX: usize = 256;
/// Deepest nesting of a configuration file, of JSON and of YAML that a template parses.
pub const TEMPLATE_DEPTH_MAX: usize = 64;
/// Most nodes of YAML that a template parses, aliases expanded.
pub const TEMPLATE_NODES_MAX: usize = 200_000;
/// Output of a command that is kept to be told when it fails, in bytes.
pub const TEMPLATE_COMMAND_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Most configuration files of one folder.
pub const TEMPLATE_CONFIG_FILES_MAX: usize = 1_000;
/// Most templates of one container.
pub const TEMPLATES_PER_CONTAINER_MAX: usize = 16;
/// Largest sum of the templates of one container, in bytes: they travel in its revision.
pub const TEMPLATES_TEXT_BYTES_MAX: usize = 200 * 1024;
/// Longest path of a rendered file in a container, in bytes.
pub const TEMPLATE_TARGET_BYTES_MAX: usize = 1024;
/// Longest wait for quiet before a file of a container is replaced, in milliseconds.
pub const TEMPLATE_WAIT_MS_MAX: u64 = 3_600_000;
/// A container is told of a new file once it has run so long, in milliseconds: before that it may
/// not listen yet.
pub const TEMPLATE_TELL_AFTER_MS: u64 = 1_000;
/// Longest run of a command in a container that is told of a new file, in milliseconds.
pub const TEMPLATE_COMMAND_MS_MAX: u64 = 30_000;
/// Shortest and longest pause before a container that could not be told is told again, in
/// milliseconds.
pub const TEMPLATE_RETRY_MS: (u64, u64) = (500, 30_000);
/// Containers that one host tells of new files at once.
pub const TEMPLATE_TELLS_MAX: usize = 16;
