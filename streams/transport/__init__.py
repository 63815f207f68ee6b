"""Kafka as the worker uses it: batch consumers, Faust's own consumer, membership of the group, the other clients.

``batch_consumer`` reads the inputs, ``faust_transport`` is Faust's own consumer, ``group_membership`` joins the group
as a static member, ``worker_clients`` makes all others. ``output_record`` is here since state and outputs, which may
not import each other, both hand it on.
"""
