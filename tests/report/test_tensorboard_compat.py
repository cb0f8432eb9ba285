"""TensorBoard's private names that are borrowed are there, and mean what they did."""

import importlib

import pytest

from speechml.report import tensorboard_compat

REMEDY = (
    "{name} is gone from tensorboard: look in its plugins/hparams/summary_v2.py for how it writes hparams() now, and do the "
    "same in speechml/report/tensorboard_compat.py, or bound its version in pyproject.toml"
)


NAMES = """
    compat.proto.event_pb2.Event compat.proto.summary_pb2.Summary summary.writer.record_writer.RecordWriter
    plugins.hparams.api_pb2.Experiment plugins.hparams.api_pb2.MetricName plugins.hparams.api_pb2.STATUS_SUCCESS
    plugins.hparams.api_pb2.DATA_TYPE_FLOAT64 plugins.hparams.api_pb2.DATA_TYPE_STRING
    plugins.hparams.metadata.EXPERIMENT_TAG plugins.hparams.metadata.SESSION_START_INFO_TAG
    plugins.hparams.metadata.SESSION_END_INFO_TAG plugins.hparams.metadata.PLUGIN_DATA_VERSION
    plugins.hparams.metadata.NULL_TENSOR plugins.hparams.metadata.create_summary_metadata
    plugins.hparams.plugin_data_pb2.HParamsPluginData plugins.hparams.plugin_data_pb2.SessionStartInfo
    plugins.hparams.plugin_data_pb2.SessionEndInfo
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_borrowed_name_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(f"tensorboard.{module}"), attribute), REMEDY.format(name=name)


def test_tensorboards_own_parser_reads_the_settings_back() -> None:
    from tensorboard.plugins.hparams import metadata

    summary = tensorboard_compat.session_start({"lr": 0.5, "net": "FIR", "deep": True})
    start = metadata.parse_session_start_info_plugin_data(summary.value[0].metadata.plugin_data.content)
    assert start.hparams["lr"].number_value == 0.5
    assert start.hparams["net"].string_value == "FIR"
    assert start.hparams["deep"].bool_value is True
