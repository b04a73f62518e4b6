"""Forebay's batch job: Spark Structured Streaming from Kafka to Kafka, scoring through `forebay score`.

Layout
- records: a request record as far as it must be understood here, and the documents that go out
- choice: which version answers, by the rules of the mesh
- child: a running `forebay score`
- scoring: a piece of a partition through the children (executors)
- pins: which versions a micro-batch was promised (driver), kept beside the checkpoint
- settings: the command line and the environment
- job: the query
"""
