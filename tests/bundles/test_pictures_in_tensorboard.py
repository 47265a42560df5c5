"""A run of the bundle shows in TensorBoard what the student says, and what it was set to."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def board_of(folder):
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


def test_pictures_and_settings_are_written_every_so_many_epochs(bundle, data, tmp_path):
    bundle.train("baseline", **data, output_dir=str(tmp_path), pictures_every=2, max_epochs=3)
    board = board_of(tmp_path)
    assert [event.step for event in board.Images("predictions/validation")] == [2]
    assert [event.step for event in board.Scalars("balanced_accuracy/validation")] == [1, 2, 3]
    assert any(meta.plugin_data.plugin_name == "hparams" for meta in board.summary_metadata.values())


def test_a_teacher_that_sees_the_mask_is_drawn_too(bundle, data, tmp_path):
    narrow = {"teacher_def#backbone#embed_dim": 12}
    bundle.train("geometry_teacher", "teacher", **data, **narrow, output_dir=str(tmp_path), pictures_every=1)
    assert len(board_of(tmp_path).Images("predictions/validation")) == 1


def test_pictures_can_be_switched_off(bundle, data, tmp_path):
    bundle.train("baseline", **data, output_dir=str(tmp_path), pictures_every=0)
    assert board_of(tmp_path).Tags()["images"] == []
