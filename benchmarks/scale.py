"""From images per second to hours and cost of ImageNet, for one GPU up to many hosts.

    python benchmarks/scale.py [--rate 5100] [--decode 607] [--price 4] ...

Prints the table of docs/scale.md, which names the source of each default; nothing is
measured here. `--rate` and `--decode` are what you measured: images per second that one
device trains, and that one core reads.
"""

import argparse

TRAINING, VALIDATION = 1_281_167, 50_000
# Name, hosts, devices of each, cores of each, images in a step.
SETUPS = (
    ("one GPU, 8 cores", 1, 1, 8, 256),
    ("one GPU, 12 cores", 1, 1, 12, 256),
    ("one host: 8 GPUs, 96 cores", 1, 8, 96, 1024),
    ("32 hosts: 256 GPUs", 32, 8, 96, 8192),
)


def estimate(
    hosts: int,
    devices: int,
    cores: int,
    batch: int,
    *,
    rate: float,
    decode: float,
    megabytes: float,
    link: float,
    network: float,
) -> dict[str, float]:
    """Images per second that the devices train and the cores read; epochs in seconds.

    Args:
        hosts: Number of hosts.
        devices: Devices of each host.
        cores: Cores of each host.
        batch: Images in a step, over all devices.
        rate: Images per second that one device trains on its own.
        decode: Images per second that one core reads.
        megabytes: Size of the gradients.
        link: Gigabytes per second between the devices of a host.
        network: Gigabytes per second between hosts.
    """
    count = hosts * devices
    # A ring sends 2 (n - 1) / n times the gradients; that nothing of it happens during
    # the backward pass is the cautious case.
    ring = [
        2 * (n - 1) / n * megabytes / 1000 / speed
        for n, speed in ((devices, link), (hosts, network))
    ]
    compute = batch / (batch / count / rate + sum(ring))
    read = hosts * cores * decode
    trained = min(compute, read)
    # A forward pass is about a third of a training step.
    validated = min(3 * count * rate, read)
    return {
        "compute": compute,
        "read": read,
        "efficiency": trained / (count * rate),
        "epoch": TRAINING / trained + VALIDATION / validated,
    }


def table(epochs: int, price: float, **rates: float) -> list[str]:
    """Lines of a Markdown table, one row for each of the setups."""
    lines = [
        "| | images in a step | devices train, images/s | cores read, images/s "
        f"| share of the ideal | an epoch | {epochs} epochs | cost, USD |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, hosts, devices, cores, batch in SETUPS:
        row = estimate(hosts, devices, cores, batch, **rates)
        hours = epochs * row["epoch"] / 3600
        lines.append(
            f"| {name} | {batch:,} | {row['compute']:,.0f} | {row['read']:,.0f} "
            f"| {row['efficiency']:.0%} | {_time(row['epoch'] / 3600)} "
            f"| {_time(hours)} | {hours * hosts * devices * price:,.0f} |"
        )
    return lines


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rate", type=float, default=5100, help="images/s that one device trains")
    add("--decode", type=float, default=607, help="images/s that one core reads")
    add("--epochs", type=int, default=90)
    add("--price", type=float, default=4, help="USD for an hour of one device")
    add("--megabytes", type=float, default=46.8, help="size of the gradients")
    add("--link", type=float, default=200, help="GB/s between devices of a host")
    add("--network", type=float, default=12.5, help="GB/s between hosts")
    print("\n".join(table(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
