//! Attention backward, flash style: P is recomputed from q, k and lse, block by block.
//!
//! Work is cut into blocks of keys, which own their rows of dk and dv. dq, which every block adds to, is made
//! deterministic by turns: blocks add to a query tile in the order of their keys, whoever computes them. The
//! alternative, a second pass with queries outside, costs 7 products instead of 5. Waiting is rare: blocks start in
//! order, those of different units in turn, and walk the tiles in order.
//!
//! dk and dv of all units of a wave are added to the caller's rows at the end, in the order of the units. Memory: the
//! wave's packed queries, dq, dk and dv, all linear in the rows, and per thread one block.
#[deny(unsafe_code)]
mod block;
#[deny(unsafe_code)]
mod by_tiles;
#[deny(unsafe_code)]
mod queries;

use crate::attention::check_params;
use crate::bounds::hull;
use crate::isa::{Kernel, Simd};
use crate::parallel::{Halt, for_each};
use crate::rows::{Rows, RowsMut, StridedMut};
use crate::workspace::Cutter;
use crate::{AttentionParams, BackwardUnit, Element, Error, Workspaces};
use block::{Differentiate, KeyGradient, Scratch};
use queries::{PackQueries, QueryTile, StoreQueryGradient, row_stride};
use std::f32::consts::LOG2_E;
use std::sync::atomic::AtomicBool;

/// Floats that a wave may take: 64 MiB.
const WAVE_FLOATS: usize = 16 << 20;

/// Computes dq of every unit and adds to dk and dv. Checks `stop` often enough to return within 50 ms of its being
/// raised.
///
/// # Safety
/// Every operand covers the rows that its unit states, and until the call returns nobody writes to an input nor
/// touches an output. Outputs overlap nothing, except that rows of dk and dv of several units may be the same rows.
pub unsafe fn backward<T: Element>(
    workspaces: &Workspaces,
    params: &AttentionParams,
    units: &[BackwardUnit<'_, T>],
    stop: &AtomicBool,
) -> Result<(), Error> {
    check_params(params)?;
    for (i, unit) in units.iter().enumerate() {
        unit.check(i, params.head_size)?;
    }
    let halt = Halt::new(stop);
    params.isa.run(Backward { workspaces, params, units, halt: &halt })?
}

pub(crate) struct Backward<'a, T> {
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) params: &'a AttentionParams,
    pub(crate) units: &'a [BackwardUnit<'a, T>],
    pub(crate) halt: &'a Halt<'a>,
}

impl<T: Element> Kernel for Backward<'_, T> {
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

impl<T: Element> Backward<'_, T> {
    /// The leading units whose working memory is within the limit, at least one, and that memory.
    fn wave_size<S: Simd>(&self) -> (usize, usize) {
        let d = self.params.head_size;
        let mut floats = 0;
        for (i, unit) in self.units.iter().enumerate() {
            let more = QueryTile::floats::<S>(unit.rows, d) + KeyGradient::floats::<S>(&hull(unit.bounds), d);
            if i > 0 && floats + more > WAVE_FLOATS {
                return (i, floats);
            }
            floats += more;
        }
        (self.units.len(), floats)
    }

    /// Differentiates the leading units and takes them off.
    fn wave<S: Simd>(&mut self, simd: S) -> Result<(), Error> {
        let (d, threads) = (self.params.head_size, self.params.threads);
        let (count, floats) = self.wave_size::<S>();
        let (units, later) = self.units.split_at(count);
        self.units = later;

        let mut memory = self.workspaces.take(floats);
        let mut memory = Cutter::new(&mut memory);
        let (mut tiles, mut gradients) = (Vec::new(), Vec::new());
        for unit in units {
            tiles.push(QueryTile::cut::<S>(unit.bounds, d, &mut memory));
            gradients.push(KeyGradient::cut::<S>(&hull(unit.bounds), d, &mut memory));
        }
        let mut workers = vec![(); threads];

        let mut packs = Vec::new();
        for (unit, tiles) in units.iter().zip(&mut tiles) {
            self.pack(unit, tiles, &mut packs);
        }
        for_each(&mut workers, packs, self.halt, |_, pack| simd.invoke(pack))?;

        self.blocks(simd, units, &tiles, &mut gradients)?;

        let mut stores = Vec::new();
        for (unit, tiles) in units.iter().zip(&mut tiles) {
            self.store(unit, tiles, &mut stores);
        }
        for_each(&mut workers, stores, self.halt, |_, store| simd.invoke(store))?;

        let shares = (0..threads).collect();
        for_each(&mut workers, shares, self.halt, |_, share| {
            for (unit, gradients) in units.iter().zip(&gradients) {
                // SAFETY: `backward`'s caller vouches for the rows; shares are disjoint, see `add_share`.
                unsafe { add_share::<S, T>(unit, gradients, self.params, share) };
            }
        })
    }

    fn pack<'t, 'm>(
        &self,
        unit: &BackwardUnit<'t, T>,
        tiles: &'t mut [QueryTile<'m>],
        packs: &mut Vec<PackQueries<'t, 'm, T>>,
    ) {
        let (d, scale) = (self.params.head_size, self.params.scale);
        // SAFETY: `backward`'s caller vouches for the unit's operands.
        let (q, out, dout, lse) = unsafe {
            let [q, out, dout] = [unit.q, unit.out, unit.dout].map(|rows| Rows::new(rows, unit.rows, d));
            (q, out, dout, Rows::new(unit.lse, unit.rows, 1))
        };
        let mut begin = 0;
        for tile in tiles {
            let rows = tile.rows;
            packs.push(PackQueries {
                q: q.part(begin, rows),
                out: out.part(begin, rows),
                dout: dout.part(begin, rows),
                lse: lse.part(begin, rows),
                scale,
                tile,
            });
            begin += rows;
        }
    }

    fn blocks<'m, S: Simd>(
        &self,
        simd: S,
        units: &[BackwardUnit<T>],
        tiles: &[Vec<QueryTile<'m>>],
        gradients: &mut [Vec<KeyGradient<'m>>],
    ) -> Result<(), Error> {
        let d = self.params.head_size;
        let mut jobs = Vec::new();
        for (i, gradients) in gradients.iter_mut().enumerate() {
            jobs.extend(gradients.iter_mut().enumerate().map(|(turn, gradient)| (turn, i, gradient)));
        }
        // First blocks first: a block never waits for one that comes later.
        jobs.sort_by_key(|&(turn, ..)| turn);
        let threads = self.params.threads.min(jobs.len());
        let mut buffers: Vec<_> = (0..threads).map(|_| self.workspaces.take(Scratch::floats::<S>(d))).collect();
        let mut scratch: Vec<_> = buffers.iter_mut().map(|buffer| Scratch::cut::<S>(buffer, d)).collect();
        for_each(&mut scratch, jobs, self.halt, |scratch, (_, unit, gradient)| {
            let (tiles, unit) = (&tiles[unit], &units[unit]);
            // SAFETY: `backward`'s caller vouches for the unit's operands.
            let [k, v] = [unit.k, unit.v].map(|rows| unsafe { Rows::new(rows, unit.kv_rows, d) });
            let [k, v] = [k, v].map(|rows| rows.part(gradient.begin, gradient.keys));
            let factor = self.params.scale * LOG2_E;
            simd.invoke(Differentiate { k, v, factor, tiles, gradient, scratch, halt: self.halt });
        })
    }

    fn store<'t>(
        &self,
        unit: &BackwardUnit<'t, T>,
        tiles: &'t mut [QueryTile],
        stores: &mut Vec<StoreQueryGradient<'t, T>>,
    ) {
        // SAFETY: `backward`'s caller vouches for the unit's operands, and that dq overlaps nothing.
        let mut to = unsafe { RowsMut::new(unit.dq, unit.rows, self.params.head_size) };
        for tile in tiles {
            let rows = tile.rows;
            let to = to.split_off_front(rows);
            stores.push(StoreQueryGradient { dq: tile.dq.get_mut(), scale: self.params.scale, rows, to });
        }
    }
}

/// Adds those rows of dk and dv whose address belongs to this share. Rows that several units have in common belong to
/// the same share, so they are added to by one thread, in the order of the units, and by no other.
///
/// # Safety
/// dk and dv of the unit have their rows, and two rows are either the same or disjoint.
unsafe fn add_share<S: Simd, T>(
    unit: &BackwardUnit<T>,
    gradients: &[KeyGradient],
    params: &AttentionParams,
    share: usize,
) {
    const PAGE: usize = 4096;
    let (d, stride) = (params.head_size, row_stride::<S>(params.head_size));
    let add = |to: StridedMut<f32>, row: usize, from: &[f32], factor: f32| {
        let to = to.ptr.wrapping_add(row * to.row_stride);
        if to.addr() / PAGE % params.threads != share {
            return;
        }
        // SAFETY: the row exists, and in this share it is this thread's alone.
        let to = unsafe { std::slice::from_raw_parts_mut(to, d) };
        for (to, from) in to.iter_mut().zip(from) {
            *to += from * factor;
        }
    };
    for gradient in gradients {
        for key in 0..gradient.keys {
            let row = gradient.begin + key;
            add(unit.dk, row, &gradient.dk[key * stride..], params.scale);
            add(unit.dv, row, &gradient.dv[key * stride..], 1.0);
        }
    }
}
