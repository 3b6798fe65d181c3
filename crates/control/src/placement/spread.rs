//! Where hosts stand by the labels that instances are spread over: a tree, one level a label. Its
//! leaves are groups of hosts with the same values; a host without a label has the empty value.

use super::hosts::Hosts;
use std::collections::BTreeMap;

/// Labels beyond this one are not looked at.
pub(super) const LEVELS_MAX: usize = 8;

/// Labels that name the zone of a host, the first that it has.
const ZONES: [&str; 2] = ["zone", "io.rancher.host.zone"];

/// A group of hosts.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Its node at each level, the last one being its own.
    pub(super) path: Vec<u32>,
    /// Its hosts by id.
    pub(super) hosts: Vec<u32>,
}

/// The hosts by the values of some labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    nodes: BTreeMap<Vec<String>, u32>,
    /// Nodes of the first level.
    pub(super) roots: Vec<u32>,
    /// By node; none for that of a leaf.
    pub(super) children: Vec<Vec<u32>>,
    pub(super) leaves: Vec<Leaf>,
    /// By node.
    leaf_of_node: Vec<Option<u32>>,
    /// Leaf of each host, by the host's place in its table.
    pub(super) leaf_of: Vec<u32>,
}

impl Spread {
    /// For these labels; for none of them, by zone.
    pub(super) fn of(hosts: &Hosts, labels: &[String]) -> Self {
        let mut spread = Self { leaf_of: vec![u32::MAX; hosts.all.len()], ..Self::default() };
        for index in &hosts.order {
            let of = &hosts.get(*index).labels;
            let values: Vec<String> = if labels.is_empty() {
                let zone = ZONES.iter().find_map(|key| of.get(*key));
                vec![zone.cloned().unwrap_or_default()]
            } else {
                labels
                    .iter()
                    .take(LEVELS_MAX)
                    .map(|label| of.get(&label.to_lowercase()).cloned().unwrap_or_default())
                    .collect()
            };
            let leaf = spread.leaf(&values);
            spread.leaves[leaf as usize].hosts.push(*index);
            spread.leaf_of[*index as usize] = leaf;
        }
        spread
    }

    fn leaf(&mut self, values: &[String]) -> u32 {
        let mut path = Vec::with_capacity(values.len());
        for level in 1..=values.len() {
            let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let node = *self.nodes.entry(values[..level].to_vec()).or_insert(next);
            if node == next {
                self.children.push(vec![]);
                self.leaf_of_node.push(None);
                match path.last() {
                    Some(above) => self.children[*above as usize].push(node),
                    None => self.roots.push(node),
                }
            }
            path.push(node);
        }
        let own = path.last().copied().unwrap_or_default();
        if let Some(leaf) = self.leaf_at(own) {
            return leaf;
        }
        let leaf = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        self.leaves.push(Leaf { path, hosts: vec![] });
        self.leaf_of_node[own as usize] = Some(leaf);
        leaf
    }

    /// The leaf that a node is, if it is one.
    pub(super) fn leaf_at(&self, node: u32) -> Option<u32> {
        self.leaf_of_node.get(node as usize).copied().flatten()
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Adds to the counts of all nodes that the host is under.
    pub(super) fn count(&self, counts: &mut [u32], host: u32, add: bool) {
        let Some(leaf) = self.leaf_of.get(host as usize) else { return };
        let Some(leaf) = self.leaves.get(*leaf as usize) else { return };
        for node in &leaf.path {
            let count = &mut counts[*node as usize];
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// The counts of a leaf's nodes, the uppermost first.
    pub(super) fn counts(&self, counts: &[u32], leaf: u32) -> [u32; LEVELS_MAX] {
        let mut out = [0; LEVELS_MAX];
        for (to, node) in out.iter_mut().zip(&self.leaves[leaf as usize].path) {
            *to = counts[*node as usize];
        }
        out
    }
}
