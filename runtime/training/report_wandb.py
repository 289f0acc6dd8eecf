#!/usr/bin/env python3
"""Reports a run of precis-finetune to Weights & Biases, while it goes on or afterwards.

    report_wandb.py runs/alibi --project=precis                   # needs `pip install wandb` and a login
    report_wandb.py runs/alibi --project=precis --mode=offline    # writes RUN/wandb; `wandb sync` sends it later
    report_wandb.py runs/alibi --project=precis --follow          # until the run has ended

The trainer itself knows nothing of it: this reads RUN/metrics.jsonl, and loss.svg and samples.txt at the end. A second report of the same folder goes on where the
first ended (RUN/wandb_reported.json).
"""
import argparse
import json
import pathlib
import sys
import time


def new_rows(path, after):
    """Whole lines of steps after `after`."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # still being written
            row = json.loads(line)
            if row["step"] > after:
                rows.append(row)
    return rows


def last_checkpoint(folder):
    state = folder / "last" / "trainer_state.json"
    return json.loads(state.read_text()) if state.is_file() else {"options": "{}", "step": 0}


def report(run, folder, options, reported):
    while True:
        finished = (folder / "finished").is_file()  # before the rows: what was written until then is all there
        for row in new_rows(folder / "metrics.jsonl", reported):
            reported = row.pop("step")
            run.log({name: value for name, value in row.items() if value is not None}, step=reported)
        if not options.follow or finished:
            return reported
        time.sleep(options.interval)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="--out of precis-finetune")
    parser.add_argument("--project", default="precis")
    parser.add_argument("--name", help="of the run; default: the folder's")
    parser.add_argument("--mode", choices=["online", "offline"], default="online")
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--interval", type=float, default=10, help="seconds between looks, with --follow")
    options = parser.parse_args()
    if not (options.folder / "metrics.jsonl").is_file():
        sys.exit(f"report_wandb.py: {options.folder} has no metrics.jsonl: name the --out folder of a run")
    try:
        import wandb
    except ImportError:
        sys.exit("report_wandb.py: this Python has no wandb (pip install wandb)")
    mark = options.folder / "wandb_reported.json"
    before = json.loads(mark.read_text()) if mark.is_file() else {"id": None, "step": 0}
    config = json.loads(last_checkpoint(options.folder)["options"])
    run = wandb.init(project=options.project, name=options.name or options.folder.resolve().name, id=before["id"], resume="allow" if before["id"] else None,
                     mode=options.mode, dir=str(options.folder), config={name.lstrip("-"): value for name, value in config.items()})
    step = report(run, options.folder, options, before["step"])
    for name in ("loss.svg", "samples.txt"):
        if (options.folder / name).is_file():
            run.save(str(options.folder / name), base_path=str(options.folder), policy="now")
    mark.write_text(json.dumps({"id": run.id, "step": step}))
    run.finish()
    print(f"reported to step {step} ({options.mode})")


if __name__ == "__main__":
    main()
