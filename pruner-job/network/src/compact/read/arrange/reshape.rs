//! Nodes that see channels and places as other axes: flattening, reshaping, and the three nodes of a channel shuffle
//! (Zhang et al. 2017: reshape, transpose, reshape).

use crate::{attributes::Attributes, onnx::NodeProto};

use super::{
    super::{
        super::{
            plan::{Builder, Read, Value},
            source::input,
            step::{Move, Movement, Step},
        },
        channelwise::value_of,
        sizes,
    },
    moved, same_channels, selected,
};

pub(crate) fn flatten<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    if Attributes::of(node).integer("axis", 1) != 1 {
        return Err("it flattens from another axis than the channels");
    }
    let from = value_of(builder, node)?;
    flattened(builder, node, &from, None)
}

/// One axis for channels and places.
fn flattened<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    from: &Value,
    literal: Option<usize>,
) -> Read<Step<'a>> {
    let places = from.places().filter(|&places| places > 0).ok_or("it flattens an image of unknown size")?;
    let count = from.channels().checked_mul(places).ok_or("it flattens too much")?;
    let output = Builder::output(node)?;
    let to = builder.track(output, vec![from.dims.first().copied().flatten(), Some(count)])?;
    let sources = from.slots.clone().flat_map(|slot| (0..places).map(move |place| (slot, place)));
    let moves =
        to.slots.zip(sources).map(|(to, (from, place))| Move { to, from, place: Some(place) }).collect();
    Ok(moved(builder, Movement::Reshape { from: from.clone(), literal }, moves))
}

pub(crate) fn reshape<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Read<Step<'a>> {
    if let Some(shuffle) = Shuffle::ending_at(builder, node) {
        return shuffle.finish(builder, node);
    }
    let from = value_of(builder, node)?;
    let shape = sizes::list(builder.source, input(node, 1).ok_or("it has no shape")?)?;
    let (Some((&batch, rest)), Some((&channels, spatial))) =
        (shape.split_first(), shape.get(1..).and_then(<[i64]>::split_first))
    else {
        return Err("it makes one axis of all");
    };
    if Attributes::of(node).integer("allowzero", 0) != 0 {
        return Err("its shape has zeros that mean zero");
    }
    let places = from.places();
    let known_batch = from.dims.first().copied().flatten();
    let keeps_batch = match batch {
        0 => true,
        // What is left for the batch is the batch if all other sizes are those of one image.
        -1 => {
            let sizes = rest.iter().map(|&size| usize::try_from(size).ok().filter(|&size| size > 0));
            let product: Option<usize> =
                sizes.map(|size| size.unwrap_or(0)).try_fold(1_usize, usize::checked_mul);
            product.is_some() && product == places.and_then(|places| places.checked_mul(from.channels()))
        }
        // The batch of the export.
        size => known_batch.map_or(size == 1, |known| known as i64 == size),
    };
    if !keeps_batch {
        return Err("it moves the axis of the batch");
    }
    let count = from.channels() as i64;
    match (channels, places) {
        (0, _) => same_channels(builder, node, &from, reshaped(&from, spatial), None),
        // A number that is computed elsewhere cannot be made smaller here.
        (1.., _) if input(node, 1).is_none_or(|name| !builder.source.is_constant(name)) => {
            Err("the number of channels in its shape is computed")
        }
        (size, _) if size == count => same_channels(builder, node, &from, reshaped(&from, spatial), Some(1)),
        (-1, _) if spatial.is_empty() => flattened(builder, node, &from, None),
        (size, Some(places)) if spatial.is_empty() && size == count.saturating_mul(places as i64) => {
            flattened(builder, node, &from, Some(places))
        }
        _ => Err("it divides the axis of the channels"),
    }
}

/// Sizes after channels that stay.
fn reshaped(from: &Value, spatial: &[i64]) -> Vec<Option<usize>> {
    let given = spatial.iter().enumerate().map(|(at, &size)| match size {
        0 => from.spatial().get(at).copied().flatten(),
        size => usize::try_from(size).ok(),
    });
    let mut dims: Vec<Option<usize>> = from.dims.iter().take(2).copied().chain(given).collect();
    let others: usize = dims.iter().skip(2).flatten().product();
    let missing = from.places().filter(|&places| others > 0 && places.is_multiple_of(others));
    let mut unknown = dims.iter_mut().skip(2).filter(|size| size.is_none());
    if let (Some(size), None, Some(places)) = (unknown.next(), unknown.next(), missing) {
        *size = Some(places / others);
    }
    dims
}

/// Channels seen as a table, turned, and seen as channels again.
struct Shuffle<'a> {
    input: &'a str,
    from: Value,
    /// Rows of the table before it is turned.
    rows: usize,
    nodes: [usize; 2],
}

impl<'a> Shuffle<'a> {
    fn ending_at(builder: &Builder<'a>, last: &'a NodeProto) -> Option<Self> {
        let source = builder.source;
        let before = |node: &'a NodeProto, operator| {
            let name = input(node, 0).filter(|name| source.is_read_once(name))?;
            source.writer(name).filter(|(_, node)| node.op_type() == operator && node.domain().is_empty())
        };
        let (turn_at, turn) = before(last, "Transpose")?;
        let (table_at, table) = before(turn, "Reshape")?;
        let name = input(table, 0)?;
        let from = builder.value(name).ok()?;
        let shape = |node| input(node, 1).and_then(|name| source.integers(name));
        let (table_shape, last_shape) = (shape(table)?, shape(last)?);
        let [_, rows, columns, spatial @ ..] = table_shape.as_slice() else { return None };
        let [_, channels, last_spatial @ ..] = last_shape.as_slice() else { return None };
        let rows = usize::try_from(*rows).ok().filter(|&rows| rows > 0)?;
        let columns = usize::try_from(*columns).ok()?;
        let order: Vec<i64> = [0, 2, 1].into_iter().chain(3..table_shape.len() as i64).collect();
        let is_turned = Attributes::of(turn).integers("perm") == Some(order.as_slice());
        let as_before = |sizes: &[i64]| {
            sizes.len() == from.spatial().len()
                && sizes
                    .iter()
                    .zip(from.spatial())
                    .all(|(&size, known)| known.map(|known| known as i64) == Some(size))
        };
        let count = from.channels();
        // One size may be left to be found; if it is the channels', it can only be their number.
        let is_whole = rows.checked_mul(columns) == Some(count)
            && (*channels == count as i64 || *channels == -1)
            && as_before(spatial)
            && as_before(last_spatial);
        (is_turned && is_whole).then_some(Self { input: name, from, rows, nodes: [table_at, turn_at] })
    }

    fn finish(self, builder: &mut Builder<'a>, last: &'a NodeProto) -> Read<Step<'a>> {
        let Self { input, from, rows, nodes } = self;
        let columns = from.channels() / rows;
        let chosen = (0..from.channels()).map(|at| at % rows * columns + at / rows).collect();
        for position in nodes {
            builder.absorb(position);
        }
        selected(builder, input, &from, Builder::output(last)?, from.dims.clone(), chosen)
    }
}
