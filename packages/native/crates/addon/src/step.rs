//! Steps as JavaScript names and registers them, and as the data plane does.

use napi_derive::napi;
use ulysses_dataplane::{self as dataplane, Pass, Role, Tensor};

use crate::checked::{MAX_SAFE_INTEGER, extent, whole};
use crate::failure::{Failure, Result};
use crate::region::Lent;

#[napi(object)]
pub struct StepKey {
    pub job: String,
    pub session: String,
    pub call: f64,
    pub pass: String,
    pub attempt: f64,
}

#[napi(object, object_to_js = false)]
pub struct Party {
    pub role: String,
    pub index: f64,
}

#[napi(object, object_to_js = false)]
pub struct SegmentPlace {
    pub region: Lent,
    pub offset_bytes: f64,
    pub rows: f64,
    pub row_bytes: f64,
    pub row_stride_bytes: f64,
    pub granule: f64,
    pub granule_ends: Option<Vec<f64>>,
}

#[napi(object, object_to_js = false)]
pub struct RowRange {
    pub begin: f64,
    pub end: f64,
}

#[napi(object, object_to_js = false)]
pub struct RowsToSend {
    pub destination: Party,
    pub tensor: String,
    pub number: f64,
    pub place: SegmentPlace,
    pub rows: RowRange,
}

#[napi(object, object_to_js = false)]
pub struct Receive {
    pub source: Party,
    pub tensor: String,
    pub segments: Vec<SegmentPlace>,
}

#[napi(object, object_to_js = false)]
pub struct Route {
    pub destination: Party,
    pub link: String,
}

#[napi(object, object_to_js = false)]
pub struct StepRegistration {
    pub key: StepKey,
    pub epoch: f64,
    #[napi(js_name = "self")]
    pub party: Party,
    pub receives: Vec<Receive>,
    pub routes: Vec<Route>,
    pub relay_bytes: f64,
    pub send_bytes: f64,
}

fn index(field: &str, value: f64) -> Result<u32> {
    whole(field, value, 0, u32::MAX.into()).map(|value| value as u32)
}

fn count(field: &str, value: f64) -> Result<u64> {
    whole(field, value, 0, MAX_SAFE_INTEGER)
}

impl StepKey {
    pub fn parse(self) -> Result<dataplane::StepKey> {
        let pass = match self.pass.as_str() {
            "forward" => Pass::Forward,
            "backward" => Pass::Backward,
            other => return Err(Failure::shape("key.pass", other, "forward or backward")),
        };
        Ok(dataplane::StepKey {
            job: self.job,
            session: self.session,
            call: count("key.call", self.call)?,
            pass,
            attempt: index("key.attempt", self.attempt)?,
        })
    }
}

impl From<dataplane::StepKey> for StepKey {
    fn from(key: dataplane::StepKey) -> StepKey {
        StepKey {
            job: key.job,
            session: key.session,
            call: key.call as f64,
            pass: key.pass.as_str().to_owned(),
            attempt: key.attempt.into(),
        }
    }
}

impl Party {
    pub fn parse(self, field: &str) -> Result<dataplane::Party> {
        let role = match self.role.as_str() {
            "rank" => Role::Rank,
            "owner" => Role::Owner,
            other => return Err(Failure::shape(format_args!("{field}.role"), other, "rank or owner")),
        };
        let index = index(field, self.index)?;
        Ok(dataplane::Party { role, index })
    }
}

pub fn tensor(name: &str) -> Result<Tensor> {
    let expected = || Tensor::ALL.map(Tensor::as_str).join(", ");
    let found = Tensor::ALL.into_iter().find(|tensor| tensor.as_str() == name);
    found.ok_or_else(|| Failure::shape("tensor", name, format!("one of {}", expected())))
}

pub fn segments(places: Vec<SegmentPlace>) -> Result<Vec<dataplane::SegmentPlace>> {
    places.into_iter().enumerate().map(|(i, place)| place.parse(i)).collect()
}

impl SegmentPlace {
    /// Whether the rows lie inside the region is checked by the data plane.
    fn parse(self, i: usize) -> Result<dataplane::SegmentPlace> {
        let name = |field| format!("segments[{i}].{field}");
        let Lent(region) = self.region;
        Ok(dataplane::SegmentPlace {
            region: region.ok_or_else(|| Failure::shape(name("region"), "freed", "a live region"))?,
            offset_bytes: extent(name("offsetBytes"), self.offset_bytes)?,
            rows: extent(name("rows"), self.rows)?,
            row_bytes: extent(name("rowBytes"), self.row_bytes)?,
            row_stride_bytes: extent(name("rowStrideBytes"), self.row_stride_bytes)?,
            granule: index("granule", self.granule)?,
            granule_ends: (self.granule_ends.unwrap_or_default().into_iter())
                .map(|end| extent(name("granuleEnds"), end))
                .collect::<Result<_>>()?,
        })
    }
}

impl RowsToSend {
    pub fn parse(self) -> Result<dataplane::RowsToSend> {
        Ok(dataplane::RowsToSend {
            destination: self.destination.parse("destination")?,
            tensor: tensor(&self.tensor)?,
            segment: index("number", self.number)?,
            place: self.place.parse(0)?,
            rows: extent("rows.begin", self.rows.begin)?..extent("rows.end", self.rows.end)?,
        })
    }
}

impl Receive {
    fn parse(self) -> Result<dataplane::Receive> {
        Ok(dataplane::Receive {
            source: self.source.parse("source")?,
            tensor: tensor(&self.tensor)?,
            segments: segments(self.segments)?,
        })
    }
}

impl StepRegistration {
    pub fn parse(self) -> Result<dataplane::StepRegistration> {
        let route = |route: Route| -> Result<dataplane::Route> {
            let destination = route.destination.parse("destination")?;
            Ok(dataplane::Route { destination, link: route.link })
        };
        Ok(dataplane::StepRegistration {
            key: self.key.parse()?,
            epoch: count("epoch", self.epoch)?,
            party: self.party.parse("self")?,
            receives: self.receives.into_iter().map(Receive::parse).collect::<Result<_>>()?,
            routes: self.routes.into_iter().map(route).collect::<Result<_>>()?,
            relay_bytes: extent("relayBytes", self.relay_bytes)?,
            send_bytes: count("sendBytes", self.send_bytes)?,
        })
    }
}
