from __future__ import annotations

import pytest

from seglab import recipes
from seglab.checkpoint import plain_state, save_checkpoint
from seglab.labels import DRONE
from seglab.models import build


@pytest.mark.filterwarnings("ignore:.* classes never occur in")  # in twelve small pictures
def test_a_checkpoint_without_normalisation_is_scored_on_pictures_from_0_to_1(tmp_path, drone_root):
    model = build("single_conv", len(DRONE))
    settings = {"model": model.recipe, "normalize": {}, "classes": list(DRONE.classes), "labels": DRONE.name}
    save_checkpoint(tmp_path / "best.safetensors", {"settings": settings, "model": plain_state(model)})
    for by_size in (False, True):
        scores, splits = recipes.evaluate_checkpoint(tmp_path / "best.safetensors", data=drone_root, by_size=by_size,
                                                     progress=False)
        assert splits.name == "drone" and int(scores.support.sum()) > 0
