//! Placeholder.
use super::World;
/// Stand-in.
pub struct Agentk;
impl Agentk {
    pub(crate) fn start(_world: &World) -> anyhow::Result<Self> { Ok(Self) }
}
