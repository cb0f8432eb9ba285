"""What TensorBoard's HPARAMS tab reads: the settings of a run, its end, and the columns of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2  # type: ignore[import-untyped]

FINAL = "hp/"  # before the names of final scores


def session_start(settings: dict[str, Any]) -> Any:
    """The summary that tells of a run's settings: numbers, truth values and text."""
    start = plugin_data_pb2.SessionStartInfo()
    for key, value in settings.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[key], kind, value)
    return _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start)


def session_end() -> Any:
    """The summary that tells that a run is done."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    return _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def experiment_columns(settings: dict[str, list[Any]], scores: list[str]) -> Any:
    """The summary that tells which columns there are.

    Args:
        settings: the values that occur, by key; the first five keys are seen at once, others when they are ticked.
        scores: names, likewise.
    """
    experiment = api_pb2.Experiment()
    for key, values in settings.items():
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        texts = sorted({value if isinstance(value, str) else str(value).lower() for value in values})
        kind = api_pb2.DATA_TYPE_FLOAT64 if numbers else api_pb2.DATA_TYPE_STRING
        info = experiment.hparam_infos.add(name=key, type=kind, differs=len(set(map(str, values))) > 1)
        if not numbers:
            info.domain_discrete.extend(texts)
    for name in scores:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=FINAL + name), display_name=name)
    return _summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _summary(tag: str, **content: Any) -> Any:
    told = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    about = metadata.create_summary_metadata(told)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def write_events(path: Path, summaries: list[Any]) -> None:
    """Write a file of events that has these summaries alone."""
    from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(file_version="brain.Event:2"), *(Event(summary=summary) for summary in summaries)):
            writer.write(event.SerializeToString())
