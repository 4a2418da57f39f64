"""Scores recorded Claude Code sessions with MLflow: two scorers in code, two judges.

    MLFLOW_TRACKING_URI=http://localhost:5000 OPENAI_API_KEY=… \\
        python examples/evaluate_sessions.py --judge openai:/gpt-5-mini

Reads the traces that are there; no agent runs again. What the scorers say is kept with each trace,
where MLflow's UI shows it, and stays when late spans of a background agent arrive. Any judge that
MLflow can call will do; --judge-url names one of your own that speaks OpenAI's chat completions.
"""

import argparse

import mlflow
from mlflow.entities import Feedback, SpanType, Trace
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import scorer


@scorer
def tools_succeed(trace: Trace) -> Feedback:
    """The share of tool calls that did not fail."""
    tools = trace.search_spans(span_type=SpanType.TOOL)
    failed = [span for span in tools if span.status.status_code == "ERROR"]
    why = ", ".join(f"{span.name}: {span.status.description}" for span in failed)
    value = 1 - len(failed) / len(tools) if tools else 1.0
    return Feedback(value=value, rationale=why or f"{len(tools)} tool calls, none failed")


@scorer
def reads_its_cache(trace: Trace) -> float:
    """The share of input tokens that came from the prompt cache."""
    usage = trace.info.token_usage or {}
    return usage.get("cache_read_input_tokens", 0) / max(usage.get("input_tokens", 0), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="claude-code", help="where the sessions are")
    parser.add_argument("--judge", help="a model, as MLflow names it; without it none is asked")
    parser.add_argument("--judge-url", help="where the judge is, if not where its provider is")
    options = parser.parse_args()
    mlflow.set_experiment(options.experiment)
    scorers = [tools_succeed, reads_its_cache]
    if options.judge:
        answered = make_judge(
            name="answered",
            instructions="Does the answer do what the prompt asks for?\n"
            "Prompt: {{ inputs }}\nAnswer: {{ outputs }}",
            model=options.judge,
            base_url=options.judge_url,
            feedback_value_type=bool,
        )
        to_the_point = make_judge(
            name="to_the_point",
            instructions="Did the user get what they wanted without asking twice? "
            "{{ conversation }}",  # the turns of a session, in their order
            model=options.judge,
            base_url=options.judge_url,
            feedback_value_type=bool,
        )
        scorers += [answered, to_the_point]
    turns = mlflow.search_traces(
        filter_string="metadata.`mlflow.source.name` = 'claude-code'", return_type="list"
    )
    result = mlflow.genai.evaluate(data=turns, scorers=scorers)
    for name, value in sorted(result.metrics.items()):
        print(f"{name} = {value:.2f}")


if __name__ == "__main__":
    main()
