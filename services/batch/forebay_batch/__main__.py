"""python -m forebay_batch, and what spark-submit runs through submit/main.py."""

import logging
import sys

from . import settings


def main(arguments=None):
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        found = settings.of(sys.argv[1:] if arguments is None else arguments)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logging.getLogger("forebay_batch").info("starting with %r", found)
    from . import job  # --help and a wrong setting need no Spark

    job.run(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
