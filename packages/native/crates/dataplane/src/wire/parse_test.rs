use bytes::{BufMut, BytesMut};

use super::*;
use crate::names::{Party, Pass, Role, StepKey, Tensor};
use crate::random::Random;
use crate::wire::{SliceHead, encode_step_fields, put_slice_head};

const LIMIT: usize = 1 << 20;

/// `PushRequest` as any protobuf library writes it.
#[derive(Clone, PartialEq, prost::Message)]
struct StockRequest {
    #[prost(message, optional, tag = "1")]
    slice: Option<StockSlice>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StockSlice {
    #[prost(message, optional, tag = "1000")]
    unknown: Option<StockParty>,
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    step: Option<StockKey>,
    #[prost(message, optional, tag = "3")]
    source: Option<StockParty>,
    #[prost(message, optional, tag = "4")]
    destination: Option<StockParty>,
    #[prost(int32, tag = "5")]
    tensor: i32,
    #[prost(uint32, tag = "6")]
    segment: u32,
    #[prost(uint64, tag = "7")]
    offset_bytes: u64,
    #[prost(uint64, tag = "8")]
    segment_bytes: u64,
    #[prost(bytes = "vec", tag = "15")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StockKey {
    #[prost(string, tag = "1")]
    job: String,
    #[prost(string, tag = "2")]
    session: String,
    #[prost(uint64, tag = "3")]
    call: u64,
    #[prost(int32, tag = "4")]
    pass: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StockParty {
    #[prost(int32, tag = "1")]
    role: i32,
    #[prost(uint32, tag = "2")]
    index: u32,
}

fn stock(payload: Vec<u8>) -> StockSlice {
    StockSlice {
        unknown: None,
        epoch: 3,
        step: Some(StockKey { job: "j".into(), session: "s".into(), call: 7, pass: 2 }),
        source: Some(StockParty { role: 2, index: 0 }),
        destination: Some(StockParty { role: 1, index: 4 }),
        tensor: 4,
        segment: 0,
        offset_bytes: 0,
        segment_bytes: payload.len() as u64,
        payload,
    }
}

fn header(segment_bytes: u64) -> SliceHeader {
    SliceHeader {
        epoch: 3,
        step: StepKey { job: "j".into(), session: "s".into(), call: 7, pass: Pass::Backward, attempt: 0 },
        source: Party { role: Role::Owner, index: 0 },
        destination: Party { role: Role::Rank, index: 4 },
        tensor: Tensor::Out,
        segment: 0,
        offset_bytes: 0,
        segment_bytes,
        shared: None,
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.put_u32(message.len() as u32);
    out.extend_from_slice(message);
    out
}

/// A message whose slice has these bytes.
fn with_slice(slice: &[u8]) -> Vec<u8> {
    let mut message = vec![0x0a];
    encode_varint(slice.len() as u64, &mut message);
    message.extend_from_slice(slice);
    framed(&message)
}

/// Feeds pieces of the given sizes; returns each slice with its payload.
fn parse(stream: &[u8], mut size: impl FnMut() -> usize) -> Result<Vec<(SliceHeader, Vec<u8>)>, WireError> {
    let mut parser = SliceParser::new(LIMIT);
    let mut slices: Vec<(SliceHeader, Vec<u8>)> = Vec::new();
    let mut announced = 0;
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size().clamp(1, rest.len()));
        rest = after;
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(piece) = parser.next(&mut input)? {
            match piece {
                Piece::Slice(header, bytes) => {
                    announced += bytes;
                    slices.push((header, Vec::new()));
                }
                Piece::Payload(payload) => {
                    assert!(!payload.is_empty());
                    slices.last_mut().expect("a header comes first").1.extend_from_slice(&payload);
                }
            }
        }
        assert!(input.is_empty(), "all input is consumed");
        assert!(slices.iter().map(|(_, payload)| payload.len()).sum::<usize>() <= announced);
    }
    parser.finish()?;
    Ok(slices)
}

fn whole(stream: &[u8]) -> Result<Vec<(SliceHeader, Vec<u8>)>, WireError> {
    parse(stream, || usize::MAX)
}

#[test]
fn what_a_stock_client_sends_is_read_whatever_the_frames() {
    let payload: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
    let message = StockRequest { slice: Some(stock(payload.clone())) }.encode_to_vec();
    let stream = framed(&message).repeat(3);
    let expected = vec![(header(1000), payload); 3];
    assert_eq!(whole(&stream).unwrap(), expected);
    assert_eq!(parse(&stream, || 1).unwrap(), expected);
    let mut random = Random::from_time();
    for _ in 0..200 {
        assert_eq!(parse(&stream, || random.below(40)).unwrap(), expected, "seed {}", random.seed);
    }
}

#[test]
fn what_we_send_is_what_a_stock_server_reads() {
    let head = SliceHead {
        source: header(0).source,
        destination: header(0).destination,
        tensor: Tensor::Out,
        segment: 0,
        offset_bytes: 0,
        segment_bytes: 300,
    };
    let mut out = BytesMut::new();
    put_slice_head(&mut out, &encode_step_fields(3, &header(0).step), head, 300);
    out.extend_from_slice(&[9; 300]);
    assert_eq!(whole(&out).unwrap(), vec![(header(300), vec![9; 300])]);
    let (prefix, message) = out.split_at(PREFIX_BYTES);
    assert_eq!(prefix, [&[0], &(message.len() as u32).to_be_bytes()[..]].concat());
    assert_eq!(StockRequest::decode(message).unwrap().slice.unwrap(), stock(vec![9; 300]));
}

#[test]
fn an_absent_payload_is_an_empty_one() {
    let message = StockRequest { slice: Some(stock(Vec::new())) }.encode_to_vec();
    assert_eq!(whole(&framed(&message)).unwrap(), vec![(header(0), Vec::new())]);
    let explicit = [stock(Vec::new()).encode_to_vec(), vec![0x7a, 0]].concat();
    assert_eq!(whole(&with_slice(&explicit)).unwrap(), vec![(header(0), Vec::new())]);
}

#[test]
fn unknown_fields_are_skipped_before_the_payload_and_around_the_slice() {
    // Field 13 as a number, 10 as 8 bytes, 11 as 4 bytes, 12 as 5000 bytes: more than known fields may take.
    let mut unknown = vec![0x68, 0x96, 0x01, 0x51, 1, 2, 3, 4, 5, 6, 7, 8, 0x5d, 1, 2, 3, 4, 0x62];
    encode_varint(5000, &mut unknown);
    unknown.extend_from_slice(&[7; 5000]);
    let slice = [unknown.clone(), stock(vec![5; 20]).encode_to_vec()].concat();
    let mut message = unknown.clone();
    message.push(0x0a);
    encode_varint(slice.len() as u64, &mut message);
    message.extend_from_slice(&slice);
    message.extend_from_slice(&unknown);
    for size in [1, 7, usize::MAX] {
        assert_eq!(parse(&framed(&message), || size).unwrap(), vec![(header(20), vec![5; 20])]);
    }
}

#[test]
fn fields_before_the_payload_may_come_in_any_order() {
    let late = StockSlice { epoch: 3, ..StockSlice::default() }.encode_to_vec();
    let early = StockSlice { epoch: 0, payload: Vec::new(), ..stock(vec![0; 4]) }.encode_to_vec();
    let slice = [early, late, vec![0x7a, 4, 1, 2, 3, 4]].concat();
    assert_eq!(whole(&with_slice(&slice)).unwrap(), vec![(header(4), vec![1, 2, 3, 4])]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let slice = stock(vec![1, 2, 3]).encode_to_vec();
    let request = framed(&StockRequest { slice: Some(stock(vec![1, 2, 3])) }.encode_to_vec());
    let compressed = [vec![1], request[1..].to_vec()].concat();
    let mut too_long = vec![0];
    too_long.put_u32(LIMIT as u32 + 1);
    let after_payload = [slice.clone(), vec![0x08, 3]].concat();
    let without = |edit: fn(&mut StockSlice)| {
        let mut slice = stock(vec![1]);
        edit(&mut slice);
        with_slice(&slice.encode_to_vec())
    };
    let missing = WireError::MissingField;
    let cases: Vec<(Vec<u8>, WireError)> = vec![
        (compressed, WireError::Compressed),
        (too_long, WireError::MessageTooLong { bytes: LIMIT + 1, limit: LIMIT }),
        (with_slice(&after_payload), WireError::PayloadNotLast { after_bytes: 2 }),
        (framed(&[]), missing("slice")),
        (framed(&[0x10, 1]), missing("slice")),
        (framed(&[0x0a, 0]), missing("step")),
        (framed(&StockRequest { slice: Some(stock(vec![1])) }.encode_to_vec().repeat(2)), WireError::SliceTwice),
        (framed(&[0x0a, 3, 0]), WireError::LengthOverrun { field: 1, bytes: 3, left: 1 }),
        (with_slice(&[0x7a, 1]), WireError::LengthOverrun { field: 15, bytes: 1, left: 0 }),
        (with_slice(&[0x12, 0x80]), WireError::FieldCut),
        (
            with_slice(&[stock(vec![5; 20]).encode_to_vec(), vec![0x4a, 2, 8, 1]].concat()),
            WireError::PayloadNotLast { after_bytes: 4 },
        ),
        (with_slice(&[vec![0x4a, 2, 8, 1], stock(vec![5; 20]).encode_to_vec()].concat()), WireError::SharedAndPayload),
        (with_slice(&[0x09, 1, 2]), WireError::LengthOverrun { field: 1, bytes: 8, left: 2 }),
        (framed(&[0x08, 1]), WireError::WireType { field: 1, wire_type: 0 }),
        (with_slice(&[0x78, 1]), WireError::WireType { field: 15, wire_type: 0 }),
        (with_slice(&[0x13]), WireError::WireType { field: 2, wire_type: 3 }),
        (with_slice(&[0x02, 1]), WireError::BadTag { tag: 2 }),
        (with_slice(&[[0x08].as_slice(), &[0xff; 11]].concat()), WireError::BadVarint),
        (with_slice(&[[0x12, 0x88, 0x27].as_slice(), &[0; 5000]].concat()), WireError::HeaderTooLong { limit: 4096 }),
        (without(|slice| slice.step = None), missing("step")),
        (without(|slice| slice.source = None), missing("source")),
        (without(|slice| slice.destination = None), missing("destination")),
        (without(|slice| slice.tensor = 0), WireError::BadField { field: "tensor", value: 0 }),
        (
            without(|slice| slice.source = Some(StockParty::default())),
            WireError::BadField { field: "source", value: 0 },
        ),
        (without(|slice| slice.step.as_mut().unwrap().pass = 9), WireError::BadField { field: "step.pass", value: 9 }),
        (request[..request.len() - 1].to_vec(), WireError::StreamCut),
    ];
    for (stream, error) in cases {
        for size in [1, 3, usize::MAX] {
            // A cut field is only noticed by the byte that follows it.
            let stream = if error == WireError::FieldCut { [&stream[..], &[0]].concat() } else { stream.clone() };
            assert_eq!(parse(&stream, || size), Err(error.clone()), "size {size}");
        }
    }
    assert!(matches!(whole(&with_slice(&[0x12, 2, 0x0a, 9, 0x7a, 0])), Err(WireError::Undecodable(_))));
}

#[test]
fn a_message_that_has_come_in_part_is_known_by_its_number() {
    let message = |payload| framed(&StockRequest { slice: Some(stock(payload)) }.encode_to_vec());
    let first = message(vec![1; 10]).len();
    let stream = [message(vec![1; 10]), message(Vec::new())].concat();
    let mut parser = SliceParser::new(LIMIT);
    assert_eq!(parser.begun(), None);
    for (at, byte) in stream.iter().enumerate() {
        let mut input = Bytes::copy_from_slice(&[*byte]);
        while parser.next(&mut input).unwrap().is_some() {}
        let ended = at + 1 == first || at + 1 == stream.len();
        assert_eq!(parser.begun(), (!ended).then_some(u64::from(at >= first)), "byte {at}");
    }
}

#[test]
fn no_bytes_make_the_parser_panic_or_pass_on_more_than_was_announced() {
    let mut random = Random::from_time();
    for round in 0..4000 {
        let mut stream = Vec::new();
        for _ in 0..1 + random.below(4) {
            let mut slice = stock(vec![3; random.below(200)]);
            slice.unknown = Some(StockParty { role: 5, index: random.below(1 << 20) as u32 });
            slice.segment = random.below(1 << 30) as u32;
            stream.extend(framed(&StockRequest { slice: Some(slice) }.encode_to_vec()));
        }
        for _ in 0..random.below(6) {
            let at = random.below(stream.len());
            match random.below(4) {
                0 => stream[at] = random.below(256) as u8,
                1 => stream[at] ^= 1 << random.below(8),
                2 => stream.truncate(at + 1),
                _ => stream.insert(at, random.below(256) as u8),
            }
        }
        let seed = random.seed;
        let (mut once, mut again) = (Random::new(seed ^ round), Random::new(!seed ^ round));
        // The same verdict wherever the stream is split; an unwinding panic fails the test with the seed.
        let outcome =
            std::panic::catch_unwind(move || (parse(&stream, || once.below(64)), parse(&stream, || again.below(512))));
        let (first, second) = outcome.unwrap_or_else(|_| panic!("seed {seed}, round {round}"));
        assert_eq!(first, second, "seed {seed}, round {round}");
    }
}
