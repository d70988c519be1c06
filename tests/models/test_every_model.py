from __future__ import annotations

from seglab.models import list_models
from tests.models.tester import ModelTester

TINY = {"backbone": "test_efficientnet"}


class TestClassifier(ModelTester):
    name, options = "classifier", TINY


class TestDeepLabV3(ModelTester):
    name, options = "deeplabv3", {**TINY, "aux": True}


class TestFCN(ModelTester):
    name, options = "fcn", TINY


class TestFCNWithAux(ModelTester):
    name, options, formats = "fcn", {"backbone": "resnet18", "aux": True}, ("torchscript",)


# As ONNX, the skip FCNs take half a minute: test_cli has the bundled one, which enlarges; TestGCN one that does not.
class TestSkipFCN(ModelTester):
    name, options, formats = "fcn_skip", {**TINY, "channels": 8}, ("torchscript",)


class TestSkipFCNThatEnlarges(ModelTester):
    name, options, formats = "fcn_skip", {**TINY, "channels": 8, "min_size": 96}, ("torchscript",)
    sizes = (*ModelTester.sizes, (1, 1), (1, 70))


class TestGCN(ModelTester):
    name, options = "gcn", {**TINY, "size": 128}


class TestGCNThatEnlarges(ModelTester):
    name, options, formats = "gcn", {**TINY, "k": 3, "channels": 8, "min_size": 96}, ("torchscript",)
    sizes = (*ModelTester.sizes, (1, 1), (1, 70))


class TestGCNOnAResNet(ModelTester):
    name, options, formats = "gcn", {"backbone": "resnet18", "k": 1, "fine": True, "norm": True}, ("torchscript",)


class TestSingleConv(ModelTester):
    name, options = "single_conv", {"relu": True}
    sizes = (*ModelTester.sizes, (1, 1), (7, 13))


def test_every_model_is_tested():
    tested = {found.name for found in globals().values() if isinstance(found, type) and issubclass(found, ModelTester)
              and found is not ModelTester}
    assert tested == set(list_models())
