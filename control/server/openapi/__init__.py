"""Schemas for clients: /openapi/v2 and /openapi/v3, made from the models. (helper 7, from 13:48)"""
