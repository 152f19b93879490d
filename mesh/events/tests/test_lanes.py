from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from mesh.events.lanes import Lanes


@dataclass
class Item:
    key: str
    number: int
    alone: bool = False


def filled(*words: str) -> Lanes[Item]:
    lanes: Lanes[Item] = Lanes()
    for word in words:
        lanes.put(Item(word[0], int(word[1:])))
    return lanes


def names(batch: list[Item]) -> list[str]:
    return [f"{item.key}{item.number}" for item in batch]


async def test_a_batch_has_the_items_of_a_key_in_order() -> None:
    lanes = filled("a1", "b1", "a2", "a3")
    assert names(await lanes.take(10)) == ["a1", "a2", "a3", "b1"]


async def test_a_key_is_in_one_batch_at_a_time() -> None:
    lanes = filled("a1", "b1")
    first = await lanes.take(1)
    lanes.put(Item("a", 2))
    assert names(await lanes.take(10)) == ["b1"]
    waiting = asyncio.ensure_future(lanes.take(10))
    await asyncio.sleep(0)
    assert not waiting.done()
    lanes.settle(first)
    assert names(await waiting) == ["a2"]


async def test_a_batch_is_no_larger_than_asked_for() -> None:
    lanes = filled("a1", "a2", "a3")
    batch = await lanes.take(2)
    assert names(batch) == ["a1", "a2"]
    lanes.settle(batch)
    assert names(await lanes.take(2)) == ["a3"]


async def test_what_is_put_back_comes_alone_in_its_place_and_others_go_on() -> None:
    lanes = filled("a1", "a2", "b1")
    batch = await lanes.take(10)
    lanes.put(Item("a", 3))
    lanes.put(Item("c", 1))
    lanes.put_back(batch)
    taken = []
    for _ in range(5):
        batch = await lanes.take(10)
        taken.append(names(batch))
        lanes.settle(batch)
    assert sorted(taken) == [["a1"], ["a2"], ["a3"], ["b1"], ["c1"]]
    assert [batch for batch in taken if batch[0].startswith("a")] == [["a1"], ["a2"], ["a3"]]


@pytest.mark.parametrize("most", [1, 2, 7])
async def test_every_item_comes_once_whatever_fails(most: int) -> None:
    words = [f"{key}{number}" for number in range(20) for key in "abcde"]
    lanes = filled(*words)
    seen: list[str] = []
    failed: set[str] = set()
    while len(seen) < len(words):
        batch = await lanes.take(most)
        if any(name.endswith("3") and name not in failed for name in names(batch)):
            failed |= set(names(batch))
            lanes.put_back(batch)
            continue
        seen += names(batch)
        lanes.settle(batch)
    for key in "abcde":
        assert [name for name in seen if name[0] == key] == [f"{key}{n}" for n in range(20)]
