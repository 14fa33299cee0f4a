//! Attention forward, flash style: tiles of queries pass over blocks of keys and keep only sums.
//!
//! Scores are computed transposed, `[key][query]`: queries lie in the lanes, so that maximum, exponential and mask need
//! no traffic between lanes, and P^T feeds the second product as it is. A tile is a few panels of `WIDTH` queries,
//! which take a block of keys in turn while it is in the second cache level. Memory: the wave's packed keys and values,
//! and per thread one tile.
//!
//! 1. Keys outside a panel's bounds are skipped; scores inside that a row must not see become -inf before anything
//!    reads them, so its P is exactly 0.
//! 2. Nothing that a tile does not see changes its results: not which units share its packed keys, either.
//! 3. A row's maximum may lose a NaN score, but its sum does not: out and lse become NaN.
#[deny(unsafe_code)]
mod by_tiles;
#[deny(unsafe_code)]
mod keys;
#[deny(unsafe_code)]
mod tile;

use crate::attention::check_params;
use crate::isa::{Kernel, Simd};
use crate::parallel::{Halt, for_each};
use crate::rows::{Rows, RowsMut};
use crate::workspace::Cutter;
use crate::{AttentionParams, Element, Error, ForwardUnit, Workspaces};
use keys::{KeyBlock, PackKeys, Wave};
use std::f32::consts::LOG2_E;
use std::sync::atomic::AtomicBool;
use tile::{Attend, Scratch, Tile};

/// Computes out and lse of every unit. Checks `stop` often enough to return within 50 ms of its being raised.
///
/// # Safety
/// Every operand covers the rows that its unit states, and until the call returns nobody writes to an input nor
/// touches an output. Outputs overlap nothing.
pub unsafe fn forward<T: Element>(
    workspaces: &Workspaces,
    params: &AttentionParams,
    units: &[ForwardUnit<'_, T>],
    stop: &AtomicBool,
) -> Result<(), Error> {
    check_params(params)?;
    for (i, unit) in units.iter().enumerate() {
        unit.check(i, params.head_size)?;
    }
    let halt = Halt::new(stop);
    params.isa.run(Forward { workspaces, params, units, halt: &halt })?
}

pub(crate) struct Forward<'a, T> {
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) params: &'a AttentionParams,
    pub(crate) units: &'a [ForwardUnit<'a, T>],
    pub(crate) halt: &'a Halt<'a>,
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = Result<(), Error>;
    const TILES: bool = T::IS_BF16;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Result<(), Error> {
        while !self.units.is_empty() {
            self.wave(simd)?;
        }
        self.halt.check()
    }
}

impl<T: Element> Forward<'_, T> {
    /// Attends the leading units and takes them off.
    fn wave<S: Simd>(&mut self, simd: S) -> Result<(), Error> {
        let d = self.params.head_size;
        let wave = Wave::first_of::<S, _>(self.units, d);
        let (units, later) = self.units.split_at(wave.sources.len());
        self.units = later;

        let mut memory = self.workspaces.take(wave.floats);
        let mut memory = Cutter::new(&mut memory);
        let mut sources: Vec<_> =
            wave.owners.iter().map(|owner| KeyBlock::cut::<S>(&owner.seen, d, &mut memory)).collect();
        let mut jobs = Vec::new();
        for (blocks, owner) in sources.iter_mut().zip(&wave.owners) {
            let unit = &units[owner.unit];
            // SAFETY: `forward`'s caller vouches for the rows of all units that share them, and one of these sees the last.
            let [k, v] = [unit.k, unit.v].map(|rows| unsafe { Rows::new(rows, owner.seen.end, d) });
            jobs.extend(blocks.iter_mut().map(|block| PackKeys { k, v, block }));
        }
        let mut workers = vec![(); self.params.threads];
        for_each(&mut workers, jobs, self.halt, |_, job| simd.invoke(job))?;

        let mut tiles = Vec::new();
        for (unit, &source) in units.iter().zip(&wave.sources) {
            self.tiles::<S>(unit, &sources[source], &mut tiles);
        }
        let threads = self.params.threads.min(tiles.len());
        let mut buffers: Vec<_> = (0..threads).map(|_| self.workspaces.take(Scratch::floats::<S>(d))).collect();
        let mut scratch: Vec<_> = buffers.iter_mut().map(|buffer| Scratch::cut::<S>(buffer, d)).collect();
        for_each(&mut scratch, tiles, self.halt, |scratch, tile| {
            simd.invoke(Attend { tile, scratch, halt: self.halt });
        })
    }

    fn tiles<'t, S: Simd>(&self, unit: &ForwardUnit<'t, T>, blocks: &'t [KeyBlock<'t>], tiles: &mut Vec<Tile<'t, T>>) {
        let d = self.params.head_size;
        // SAFETY: `forward`'s caller vouches for the unit's operands, and that outputs overlap nothing.
        let (q, mut out, mut lse) = unsafe {
            let q = Rows::new(unit.q, unit.rows, d);
            (q, RowsMut::new(unit.out, unit.rows, d), RowsMut::new(unit.lse, unit.rows, 1))
        };
        for begin in (0..unit.rows).step_by(S::FORWARD_QUERIES) {
            let rows = S::FORWARD_QUERIES.min(unit.rows - begin);
            tiles.push(Tile {
                q: q.part(begin, rows),
                factor: self.params.scale * LOG2_E,
                bounds: &unit.bounds[2 * begin..][..2 * rows],
                blocks,
                out: out.split_off_front(rows),
                lse: lse.split_off_front(rows),
            });
        }
    }
}
