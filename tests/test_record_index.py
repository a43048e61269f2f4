"""Records by number, the order of the training stream, its shares, and what happens to damaged records."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.images import UprightImage
from ssdcore.data.order import WHOLE_BATCH, WorkerSlice, records_at
from ssdcore.data.pipeline import TrainingExample, evaluation_batches, iterate, read_records, training_stream
from ssdcore.data.records.index import UNDECODABLE, RecordIndex, find_undecodable
from ssdcore.data.records.record import serialize
from ssdcore.data.synth import synthesize
from ssdcore.data.validation import ValidBox
from ssdcore.errors import DataError, ParamError
from ssdcore.params import AugmentParams, DataParams, Photometric

PLAIN = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0, interpolations=("nearest",))
COUNT = 12
NOBODY: list[ValidBox] = []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn images to learn from in three shards of four."""
    root = tmp_path_factory.mktemp("index")
    synthesize(root / "voc", COUNT, 1, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssdcore.data.convert.IMAGES_PER_SHARD", 5)
        convert(read_labelled(root / "voc"), root / "records")
    assert len(list((root / "records").glob("trainval*"))) == 3
    return root / "records"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("trainval*"))


def grey(folder: Path, count: int) -> RecordIndex:
    """Images of one grey each, the number of the record."""
    path = folder / "grey.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            pixels = cv2.imencode(".png", np.full((4, 4, 3), number, np.uint8))[1].tobytes()
            writer.write(serialize(f"grey {number}", UprightImage(pixels, (4, 4), ()), NOBODY, ()))
    return RecordIndex([path])


def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))[1].tobytes()


def shown(
    index: RecordIndex, count: int, start: int = 0, worker_slice: WorkerSlice = WHOLE_BATCH, skip=()
) -> list[int]:
    """The numbers of the records that a stream of `grey` images gives."""
    stream = training_stream(index, (3, 1), start, (4, 4), DataParams(), PLAIN, worker_slice, skip)
    return [int(item.image[0, 0, 0]) for item in stream.take(count).as_numpy_iterator()]


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def assert_holds_what_tensorflow_reads(folder: Path, split: str) -> None:
    index = RecordIndex.of_split(folder, split)
    expected = list(read_records(folder, split).as_numpy_iterator())
    assert [index.read(number) for number in range(len(index))] == expected


def test_every_record_is_what_tensorflow_reads_in_turn(folder: Path) -> None:
    assert len(RecordIndex.of_split(folder, "trainval")) == COUNT
    assert_holds_what_tensorflow_reads(folder, "trainval")


@pytest.mark.realdata
def test_every_record_of_bccd_is_what_tensorflow_reads_in_turn(bccd: Path, tmp_path: Path) -> None:
    convert(read_labelled(bccd), tmp_path / "out")
    assert_holds_what_tensorflow_reads(tmp_path / "out", "trainval")


def test_contents_may_be_empty_and_end_in_zeros_and_files_may_be_empty(tmp_path: Path) -> None:
    contents = [[b"", b"a\0b\0\0"], [], [b"\0" * 70000, b""]]
    for number, part in enumerate(contents):
        with tf.io.TFRecordWriter(str(tmp_path / str(number))) as writer:
            for content in part:
                writer.write(content)
    index = RecordIndex([tmp_path / str(number) for number in range(3)])
    assert [index.read(number) for number in range(len(index))] == [b"", b"a\0b\0\0", b"\0" * 70000, b""]
    assert [index.name(number) for number in (0, 1, 3)] == ["0, record 1", "0, record 2", "2, record 2"]


def test_names_are_those_of_the_images(tmp_path: Path) -> None:
    assert [grey(tmp_path, 3).name(number) for number in range(3)] == ["grey 0", "grey 1", "grey 2"]


def test_only_the_frames_are_read_to_find_the_records(tmp_path: Path) -> None:
    """A file of 20,000 records of 1 MB, almost all of it a hole, of which not a hundredth is read."""
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        writer.write(bytes(1_000_000))
    header = (tmp_path / "one").read_bytes()[:12]
    with (tmp_path / "many").open("wb") as file:
        for number in range(20_000):
            file.seek(number * 1_000_016)
            file.write(header)
        file.truncate(20_000 * 1_000_016)
    before = bytes_read()
    assert len(RecordIndex([tmp_path / "many"])) == 20_000
    assert bytes_read() - before < 200e6


def bytes_read() -> int:
    """What this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content, second: content[:-1], "is cut off: it has 181 of 182 bytes"),
        (lambda content, second: content[: second + 7], "is cut off in the header at byte 116"),
        # A length that leads outside, and one that leads inside by mistake:
        (lambda content, second: content[:second] + b"?" + content[second + 1 :], "there is no record at byte 116"),
        (lambda content, second: content[:second] + b"\x01" + content[second + 1 :], "there is no record at byte 116"),
        (lambda content, second: b"no records at all", "there is no record at byte 0"),
    ],
)
def test_damaged_frames_are_named(damage: Callable[[bytes, int], bytes], says: str, tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        writer.write(b"x" * 100)
        writer.write(b"y" * 50)
    content = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(damage(content, 116))
    with pytest.raises(DataError, match=rf"one is damaged: .*{says}.*; convert the data again"):
        RecordIndex([tmp_path / "one"])


def test_a_split_has_as_many_records_as_its_manifest_says(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"images": 12', '"images": 13'))
    with pytest.raises(DataError, match="hold 12 images, its manifest says 13; convert"):
        RecordIndex.of_split(copy, "trainval")


def test_shards_that_are_cut_off_or_gone_are_named(copy: Path) -> None:
    shard = shards(copy)[1]
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"00001-of-00003\.tfrecord is damaged: it has .* bytes, it was written with"):
        RecordIndex.of_split(copy, "trainval")
    shard.unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.tfrecord is missing"):
        RecordIndex.of_split(copy, "trainval")


def test_the_order_is_the_documented_one() -> None:
    """Position 11 of 4 records is entry 3 of the permutation of epoch 2."""
    drawn = np.random.Philox([5, 7, 2]).random_raw(4).tolist()
    expected = sorted(range(4), key=drawn.__getitem__)
    assert records_at(4, (5, 7), np.arange(8, 12)).tolist() == expected
    assert records_at(4, (5, 7), np.array([11, 8])).tolist() == [expected[3], expected[0]]


def test_each_epoch_has_every_record_once_in_an_order_of_its_own() -> None:
    epochs = records_at(50, (0, 0), np.arange(500)).reshape(10, 50)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(50))] * 10
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 10
    assert records_at(50, (0, 1), np.arange(50)).tolist() != epochs[0].tolist()
    assert records_at(50, (1, 0), np.arange(50)).tolist() != epochs[0].tolist()


def test_every_record_comes_first_about_equally_often() -> None:
    """Of 3,000 epochs of 6 records each is first in 500, with a standard deviation of 20."""
    first = records_at(6, (0, 0), np.arange(3000) * 6)
    assert np.abs(np.bincount(first) - 500).max() < 4 * 20.4


def test_the_stream_shows_the_records_that_are_named(tmp_path: Path) -> None:
    """Over the limit of what is looked up at once, 1024."""
    index = grey(tmp_path, 7)
    assert shown(index, 1100) == records_at(7, (3, 1), np.arange(1100)).tolist()
    assert shown(index, 3, 1023) == records_at(7, (3, 1), np.arange(1023, 1026)).tolist()


@pytest.mark.parametrize("workers", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("start", [0, 8, 21])
def test_the_slices_of_workers_make_up_the_batches_of_one(workers: int, start: int, tmp_path: Path) -> None:
    """Batches of 8 of 7 images; a start within a batch gives each worker what is left of its part."""
    index = grey(tmp_path, 7)
    alone = dict(zip(range(start, 80), shown(index, 80 - start, start), strict=True))
    together = {}
    for worker in range(workers):
        mine = [n for n in range(start, 80) if n % 8 * workers // 8 == worker]
        found = shown(index, len(mine), start, WorkerSlice(8, worker, workers))
        together.update(zip(mine, found, strict=True))
    assert together == alone


def test_workers_see_every_image_once_in_an_epoch(tmp_path: Path) -> None:
    index = grey(tmp_path, 12)
    parts = [shown(index, 6, 12, WorkerSlice(4, worker, 2)) for worker in range(2)]
    assert sorted(parts[0] + parts[1]) == list(range(12))


def test_a_worker_reads_its_own_records_only(tmp_path: Path) -> None:
    """All records of the other worker's part of the batch are damaged."""
    index = grey(tmp_path, 4)
    numbers = records_at(4, (3, 1), np.arange(4)).tolist()
    for number in numbers[2:]:
        flip_byte(tmp_path / "grey.tfrecord", int(index.locate(np.array([number]))[1][0]) + 60)
    assert shown(index, 2, 0, WorkerSlice(4, 0, 2)) == numbers[:2]
    with pytest.raises(UNDECODABLE):
        shown(index, 2, 0, WorkerSlice(4, 1, 2))


def test_batches_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="batch of 6 images cannot be divided equally among 4 workers"):
        shown(grey(tmp_path, 2), 1, 0, WorkerSlice(6, 0, 4))


@pytest.mark.parametrize(
    ("skip", "instead"),
    [({2}, {2: 3}), ({2, 3}, {2: 4, 3: 4}), ({5}, {5: 0}), ({4, 5, 0}, {4: 1, 5: 1, 0: 1}), ({0, 1, 2, 3, 5}, None)],
)
def test_the_next_record_takes_the_place_of_a_skipped_one(skip: set, instead: dict | None, tmp_path: Path) -> None:
    index = grey(tmp_path, 6)
    untouched = shown(index, 30)
    expected = [4] * 30 if instead is None else [instead.get(number, number) for number in untouched]
    assert shown(index, 30, skip=skip) == expected
    assert records_at(6, (3, 1), np.arange(30), skip).tolist() == expected


def test_skipping_all_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 training images"):
        shown(grey(tmp_path, 2), 1, skip=(0, 1))


def augmented(
    folder: Path, start: int, count: int, worker_slice: WorkerSlice = WHOLE_BATCH, calls: int = 0
) -> list[TrainingExample]:
    index = RecordIndex.of_split(folder, "trainval")
    data = DataParams(parallel_calls=calls)
    stream = training_stream(index, (1, 0), start, (64, 64), data, AugmentParams(), worker_slice)
    return list(stream.take(count).as_numpy_iterator())


def assert_equal(some: list[TrainingExample], others: list[TrainingExample]) -> None:
    for one, other in zip(some, others, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_augmentation_depends_on_the_position_not_on_the_worker_or_the_start(folder: Path) -> None:
    alone = augmented(folder, 0, 40, calls=1)
    assert_equal(augmented(folder, 29, 11), alone[29:])
    assert_equal(augmented(folder, 8, 16, WorkerSlice(4, 0, 2), calls=3), [alone[n] for n in range(8, 40) if n % 4 < 2])
    assert_equal(augmented(folder, 8, 16, WorkerSlice(4, 1, 2), calls=2), [alone[n] for n in range(8, 40) if n % 4 > 1])


def test_a_image_is_changed_anew_each_time_it_is_shown(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        writer.write(serialize("one", UprightImage(jpeg(), (40, 60), ()), NOBODY, ()))
    always = AugmentParams(photometric=Photometric(probability=1))
    stream = training_stream(RecordIndex([tmp_path / "one"]), (1, 0), 0, (32, 32), DataParams(), always)
    assert len({item.image.tobytes() for item in stream.take(40).as_numpy_iterator()}) == 40


def test_a_start_far_away_is_reached_at_once(tmp_path: Path) -> None:
    index = grey(tmp_path, 5)
    start = time.perf_counter()
    assert shown(index, 5, 5 * 10**12) == records_at(5, (3, 1), 5 * 10**12 + np.arange(5)).tolist()
    assert time.perf_counter() - start < 20


def test_records_altered_within_their_size_are_found_and_named(copy: Path) -> None:
    """One byte in the middle of the image of record 5, which a decoder may well not notice."""
    index = RecordIndex.of_split(copy, "trainval")
    names = [index.name(number) for number in range(COUNT)]
    _, offsets = index.locate(np.arange(COUNT))
    middle = int(offsets[5] + offsets[6]) // 2
    flip_byte(shards(copy)[1], middle)
    with pytest.raises(UNDECODABLE):
        augmented(copy, 0, COUNT)
    (found,) = find_undecodable(RecordIndex.of_split(copy, "trainval"), [*range(COUNT), 5])
    assert (found.number, found.name) == (5, names[5])
    assert found.reason == f"the record is damaged: corrupted record at {offsets[5] + 12}"


def test_a_stream_that_skips_what_cannot_be_decoded_goes_on(copy: Path) -> None:
    before = augmented(copy, 0, 24)
    flip_byte(shards(copy)[0], 2000)
    (bad,) = find_undecodable(RecordIndex.of_split(copy, "trainval"), range(COUNT))
    index = RecordIndex.of_split(copy, "trainval")
    stream = training_stream(index, (1, 0), 0, (64, 64), DataParams(), AugmentParams(), skip={bad.number})
    kept = records_at(COUNT, (1, 0), np.arange(24)) != bad.number
    after = list(stream.take(24).as_numpy_iterator())
    assert kept.sum() == 22
    assert_equal([after[n] for n in np.flatnonzero(kept)], [before[n] for n in np.flatnonzero(kept)])


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"\xff\xffno record", "one, record 2", "it cannot be decoded: it is not a record of an image"),
        (b"no record" * 99, "one, record 2", "it cannot be decoded: Could not parse example input"),
        (
            serialize("a b", UprightImage(jpeg()[:900], (40, 60), ()), NOBODY, ()),
            "a b",
            "it cannot be decoded: jpeg::Uncompress failed",
        ),
        (
            serialize("a b", UprightImage(b"no image", (40, 60), ()), NOBODY, ()),
            "a b",
            "it cannot be decoded: Unknown image file format",
        ),
        (
            serialize("a b", UprightImage(jpeg(), (50, 70), ()), NOBODY, ()),
            "a b",
            "the image is 60 x 40 px, its record says 70 x 50",
        ),
        (b"", "one, record 2", "it cannot be decoded: Feature: image/"),
    ],
)
def test_records_whose_checksums_agree_may_still_be_undecodable(
    content: bytes, name: str, reason: str, tmp_path: Path
) -> None:
    sound = serialize("sound", UprightImage(jpeg(), (40, 60), ()), NOBODY, ())
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        for record in (sound, content, sound):
            writer.write(record)
    index = RecordIndex([tmp_path / "one"])
    (found,) = find_undecodable(index, range(3))
    assert (found.number, found.name) == (1, name)
    assert found.reason.startswith(reason)
    assert len(found.reason.splitlines()) == 1
    assert len(found.reason) < 200
    with pytest.raises(UNDECODABLE):
        list(training_stream(index, (0, 0), 0, (32, 32), DataParams(), PLAIN).take(3))


def test_a_shard_that_has_gone_is_no_undecodable_image(tmp_path: Path) -> None:
    index = grey(tmp_path, 2)
    (tmp_path / "grey.tfrecord").unlink()
    with pytest.raises(DataError, match=r"grey\.tfrecord is missing; convert"):
        find_undecodable(index, [0])


def test_damage_met_while_reading_in_turn_is_one_clear_error(copy: Path) -> None:
    assert len(list(iterate(read_records(copy, "trainval"), copy, "trainval"))) == COUNT
    flip_byte(shards(copy)[1], 2000)
    with pytest.raises(DataError, match=r"'trainval' of .*copy is damaged: corrupted record at 12; convert"):
        list(iterate(read_records(copy, "trainval"), copy, "trainval"))
    batches = evaluation_batches(read_records(copy, "trainval"), (32, 32), "warp", 2)
    with pytest.raises(DataError, match="is damaged: corrupted record at 12; convert"):
        list(iterate(batches, copy, "trainval"))
