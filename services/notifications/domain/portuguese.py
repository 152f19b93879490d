"""The texts in Portuguese: subject and text by kind. `{amount}`, `{why}`, `{when}` and `{count}`
are filled in.
"""

from __future__ import annotations

WORDS = {
    "greeting": "Olá.",
    "greeting by name": "Olá, {name}.",
    "code": "Código: {code}",
}

FAILURES = {
    "": "a operação não foi aceita",
    "INSUFFICIENT_FUNDS": "saldo insuficiente",
    "ACCOUNT_CLOSED": "a conta está encerrada",
    "ACCOUNT_BLOCKED": "a conta está bloqueada",
    "ACCOUNT_NOT_FOUND": "a conta não foi encontrada",
    "PAYEE_NOT_FOUND": "o destinatário não foi encontrado",
    "CURRENCY_MISMATCH": "a conta é de outra moeda",
    "LIMIT_EXCEEDED": "o valor passa do limite",
}

TEXTS = {
    "CONFIRMATION": (
        "Confirme seu e-mail",
        "Use o código abaixo para confirmar seu e-mail. Ele vale por poucos minutos.",
    ),
    "PASSWORD_RESET": (
        "Crie uma nova senha",
        "Use o código abaixo para criar uma nova senha. Ele vale por poucos minutos."
        " Se você não pediu, ignore esta mensagem.",
    ),
    "INVITATION": (
        "Você foi convidado para atuar por uma empresa",
        "Entre, ou cadastre-se com este e-mail, e aceite o convite com o código abaixo.",
    ),
    "NEW_DEVICE": (
        "Novo acesso à sua conta",
        "Sua conta foi acessada de um aparelho novo. Se não foi você, encerre a sessão no"
        " aplicativo e troque sua senha.",
    ),
    "MEMBERSHIP_CHANGED": (
        "Seu acesso a uma empresa mudou",
        "O que você pode fazer por uma empresa mudou. Abra o aplicativo para ver.",
    ),
    "TRANSFER_COMPLETED": (
        "Transferência concluída",
        "Sua transferência de {amount} foi concluída.",
    ),
    "TRANSFER_FAILED": (
        "Transferência não realizada",
        "Sua transferência de {amount} não foi realizada: {why}. Nenhum valor saiu da sua conta.",
    ),
    "SCHEDULED_TRANSFER_FAILED": (
        "Transferência agendada não realizada",
        "Sua transferência de {amount}, agendada para {when}, não foi realizada: {why}."
        " Nenhum valor saiu da sua conta.",
    ),
    "TRANSFER_CANCELLED": (
        "Transferência cancelada",
        "Uma transferência que você pediu foi cancelada. Nenhum valor saiu da sua conta.",
    ),
    "TRANSFER_RETURNED": (
        "Valor devolvido",
        "De uma transferência que você fez, {amount} já voltaram para a sua conta.",
    ),
    "APPROVAL_NEEDED": (
        "Uma transferência espera sua aprovação",
        "Uma transferência de {amount} espera sua aprovação até {when}.",
    ),
    "TRANSFER_APPROVED": (
        "Transferência aprovada",
        "Uma transferência que você pediu foi aprovada.",
    ),
    "TRANSFER_REJECTED": (
        "Transferência recusada",
        "Uma transferência que você pediu não foi aprovada. Nenhum valor saiu da sua conta.",
    ),
    "APPROVAL_EXPIRED": (
        "Transferência não aprovada a tempo",
        "Uma transferência que você pediu não foi aprovada a tempo, e foi cancelada.",
    ),
    "PIX_RECEIVED": ("Pix recebido", "Você recebeu um Pix de {amount}."),
    "PIX_RETURNED": (
        "Pix devolvido",
        "Um Pix que você recebeu foi devolvido: {amount} saíram da sua conta.",
    ),
    "PIX_RETURN_FAILED": (
        "Devolução não realizada",
        "A devolução de {amount} não foi realizada: {why}. O valor continua na sua conta.",
    ),
    "PIX_KEY_REGISTERED": (
        "Chave Pix cadastrada",
        "Sua conta pode ser paga por uma nova chave Pix. Se não foi você, fale conosco.",
    ),
    "PIX_KEY_REMOVED": (
        "Chave Pix removida",
        "Uma chave Pix não paga mais a sua conta. Se não foi você, fale conosco.",
    ),
    "PIX_KEY_CLAIMED": (
        "Pedido sobre uma chave Pix",
        "Alguém pediu uma chave Pix da sua conta. Abra o aplicativo para responder.",
    ),
    "ACCOUNT_BLOCKED": (
        "Conta bloqueada",
        "Sua conta foi bloqueada. Fale conosco para saber por quê.",
    ),
    "ACCOUNT_UNBLOCKED": ("Conta desbloqueada", "Um bloqueio da sua conta terminou."),
    "ACCOUNT_CLOSED": ("Conta encerrada", "Sua conta foi encerrada."),
    "TICKET_ANSWERED": (
        "Respondemos ao seu chamado",
        "Há uma resposta nova ao seu chamado. Abra o aplicativo para ler.",
    ),
    "DIGEST": ("Resumo do dia", "Mensagens desde o último resumo: {count}."),
}
