"""Name the accelerator of this machine, or say that there is none and exit 1."""

import sys

import torch


def main() -> int:
    """Print what was found."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        print(
            f"error: no accelerator here (torch {torch.__version__}); nothing was run\n"
            "hint: run this on a machine with a GPU and a build of torch that knows it",
            file=sys.stderr,
        )
        return 1
    print(f"accelerator: {torch.accelerator.device_count()} x {device.type}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
