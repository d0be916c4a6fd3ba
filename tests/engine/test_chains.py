"""Which pointwise ops could be one kernel: never across a kernel that must stay apart, never in a circle; bytes by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.measure.chains import Op, Read, find, groups


def op(
    name: str,
    reads: list[tuple[int, int]],
    write: tuple[int, int],
    *,
    pointwise: bool = True,
    elements: int = 100,
) -> Op:
    return Op(
        name=name,
        pointwise=pointwise,
        elements=elements,
        reads=tuple(Read(value, size) for value, size in reads),
        writes=(Read(*write),),
    )


def test_gelu_and_multiply_after_two_gemms_are_one_kernel():
    """GeGLU: the product of gelu(gate) and up. What stays: both GEMMs' outputs read once, the product written once."""
    ops = [
        op("mm", [(0, 50), (1, 50)], (2, 400), pointwise=False),
        op("mm", [(0, 50), (3, 50)], (4, 400), pointwise=False),
        op("gelu", [(2, 400)], (5, 400)),
        op("mul", [(5, 400), (4, 400)], (6, 400)),
        op("mm", [(6, 400), (7, 50)], (8, 50), pointwise=False),
    ]
    (chain,) = find(ops)
    assert chain.ops == ("gelu", "mul")
    assert (chain.bytes, chain.fused_bytes, chain.saves_bytes) == (2000, 1200, 800)


def test_a_residual_around_a_gemm_is_not_fused_over_it():
    """x + gemm(relu(x)): relu and add are joined by an edge, but the GEMM lies between them."""
    ops = [
        op("relu", [(0, 400)], (1, 400)),
        op("mm", [(1, 400), (2, 50)], (3, 400), pointwise=False),
        op("add", [(1, 400), (3, 400)], (4, 400)),
    ]
    assert find(ops) == ()
    assert sorted(map(sorted, groups(ops))) == [[0], [2]]


def test_an_intermediate_that_somebody_else_reads_is_still_written():
    ops = [
        op("relu", [(0, 400)], (1, 400)),
        op("mul", [(1, 400)], (2, 400)),
        op("sum", [(1, 400)], (3, 4), pointwise=False),
    ]
    (chain,) = find(ops)
    assert (chain.bytes, chain.fused_bytes) == (1600, 1200)
    (kept,) = find(ops[:2], kept=frozenset({1}))
    assert (kept.bytes, kept.fused_bytes) == (1600, 1200)


def test_two_halves_of_one_tensor_are_two_inputs():
    halves = Op(
        name="mul",
        pointwise=True,
        elements=100,
        reads=(Read(1, 400), Read(0, 400, region=2)),
        writes=(Read(2, 400),),
    )
    gelu = Op(
        name="gelu", pointwise=True, elements=100, reads=(Read(0, 400, region=1),), writes=(Read(1, 400),)
    )
    (chain,) = find([gelu, halves])
    assert chain.fused_bytes == 400 + 400 + 400


def test_ops_of_other_sizes_do_not_join():
    ops = [op("relu", [(0, 4)], (1, 4), elements=1), op("mul", [(1, 4), (2, 400)], (3, 400))]
    assert find(ops) == ()


def test_like_chains_are_counted_together():
    ops: list[Op] = []
    for step in range(3):
        base = 10 * step
        ops += [op("silu", [(base, 400)], (base + 1, 400)), op("mul", [(base + 1, 400)], (base + 2, 400))]
    (chain,) = find(ops)
    assert (chain.count, chain.bytes, chain.fused_bytes) == (3, 4800, 2400)


@st.composite
def programs(draw: st.DrawFn) -> list[Op]:
    ops: list[Op] = []
    for index in range(draw(st.integers(1, 14))):
        sources = draw(st.lists(st.integers(0, index + 1), min_size=1, max_size=3, unique=True))
        elements = draw(st.sampled_from((50, 100)))
        ops.append(
            op(
                f"op{index}",
                [(source, 4 * elements) for source in sources],
                (index + 2, 4 * elements),
                pointwise=draw(st.booleans()),
                elements=elements,
            )
        )
    return ops


@settings(max_examples=150, deadline=None)
@given(programs())
def test_groups_can_run_as_kernels_in_some_order(ops: list[Op]):
    """Contract each group to one node: what is left has no circle. Each pointwise op is in one group, no other is in any."""
    found = groups(ops)
    of = {index: place for place, members in enumerate(found) for index in members}
    assert sorted(of) == [index for index, one in enumerate(ops) if one.pointwise]
    node = {index: of.get(index, len(found) + index) for index in range(len(ops))}
    made_by = {write.value: index for index, one in enumerate(ops) for write in one.writes}
    needs: dict[int, set[int]] = {}
    for index, one in enumerate(ops):
        before = {node[made_by[r.value]] for r in one.reads if r.value in made_by}
        needs.setdefault(node[index], set()).update(before - {node[index]})
    done: set[int] = set()
    while len(done) < len(needs):
        ready = {one for one, before in needs.items() if one not in done and before <= done}
        assert ready, "the groups wait for each other in a circle"
        done |= ready


@settings(deadline=None)
@given(programs())
def test_fusing_never_moves_more_and_never_nothing(ops: list[Op]):
    for chain in find(ops):
        assert 0 < chain.fused_bytes < chain.bytes
        assert len(chain.ops) >= 2
