"""HorizontalPodAutoscalers: as many Pods as their metrics ask for.

``controller`` says when to look, ``autoscale`` asks the server for scale and metrics and writes.
The decision is pure: ``replicas`` says what one metric asks for, ``metrics`` what all do, ``rates``
how fast it may be, ``decide`` what follows. Source: k8s.io/kubernetes/pkg/controller/podautoscaler.
"""
