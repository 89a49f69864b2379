"""CronJobs: makes a Job at each time of a schedule, and keeps a few of the ended ones.

``schedule`` (in control/api, for the server checks it too) knows the times; ``controller`` decides
what is due. All is pure. Source: k8s.io/kubernetes/pkg/controller/cronjob and
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""
