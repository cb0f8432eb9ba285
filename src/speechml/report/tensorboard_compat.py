"""TensorBoard's names that are not public: what the tab HPARAMS reads, and how it is written into event files.

tests/report/test_tensorboard_compat.py looks for each of them and says what to do when one is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2  # type: ignore[import-untyped]

FINAL = "~hp/"  # before the names of final scores: single points, which TensorBoard sorts behind the curves
Value = bool | int | float | str


def session_start(settings: Mapping[str, Value]) -> Summary:
    """The summary of a run's settings, by which the tab HPARAMS lists it."""
    start = plugin_data_pb2.SessionStartInfo()
    for key, value in settings.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[key], kind, value)
    return _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start)


def session_end() -> Summary:
    """The summary that says that a run is done."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    return _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def experiment_columns(settings: Mapping[str, Sequence[Value]], scores: Sequence[str]) -> Summary:
    """The summary that says which columns there are: the values that occur, by key of a setting, and names of scores.

    Beside a run's name, as many as its window is wide are seen at first: three settings leave room for two scores.
    """
    experiment = api_pb2.Experiment()
    for key, values in settings.items():
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        kind = api_pb2.DATA_TYPE_FLOAT64 if numbers else api_pb2.DATA_TYPE_STRING
        info = experiment.hparam_infos.add(name=key, type=kind, differs=len(set(map(str, values))) > 1)
        if not numbers:
            texts = {value if isinstance(value, str) else str(value).lower() for value in values}
            info.domain_discrete.extend(sorted(texts))
    for name in scores:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=FINAL + name), display_name=name)
    return _summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _summary(tag: str, **content: object) -> Summary:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
